-- Routing policies are immutable versions; one is active. Settings kept here outrank environment and file.
create table routing_policies (
  version text primary key,
  name text not null,
  policy jsonb not null,
  created_at timestamptz not null default now(),
  created_by text not null default 'system',
  activated_at timestamptz
);
create unique index routing_policies_one_active on routing_policies ((true)) where activated_at is not null;

create table settings (
  name text primary key,
  value jsonb not null,
  changed_at timestamptz not null default now(),
  changed_by text not null
);
