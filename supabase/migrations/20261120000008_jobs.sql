-- Durable jobs: the row is the fact, the queue message only a hint that there is one.
create table jobs (
  id uuid primary key,
  tenant text not null,
  key_id uuid references api_keys (id),
  task text not null,
  request jsonb not null,
  state text not null default 'queued' check (state in ('queued', 'running', 'done', 'failed', 'cancelled', 'dead')),
  priority smallint not null default 5 check (priority between 0 and 9),
  idempotency_key text,
  request_sha256 bytea,
  attempts integer not null default 0,
  lease_until timestamptz,
  leased_by text,
  deadline timestamptz,
  result jsonb,
  error jsonb,
  created_at timestamptz not null default now(),
  finished_at timestamptz,
  unique (tenant, idempotency_key)
);
create index jobs_waiting on jobs (priority, created_at) where state = 'queued';
create index jobs_leases on jobs (lease_until) where state = 'running';
