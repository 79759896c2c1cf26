-- API keys: only the SHA-256 of a 256-bit random secret is kept, so a read of this table opens nothing.
create table api_keys (
  id uuid primary key default gen_random_uuid(),
  name text not null,
  tenant text not null default 'default',
  role text not null default 'operator' check (role in ('viewer', 'operator', 'admin')),
  secret_sha256 bytea not null unique check (octet_length(secret_sha256) = 32),
  scopes jsonb not null default '{}'::jsonb,
  created_at timestamptz not null default now(),
  revoked_at timestamptz
);
