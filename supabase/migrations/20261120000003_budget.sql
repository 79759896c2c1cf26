-- Budgets, their windows, paid attempts and the append-only ledger. Amounts are integer nano-dollars.
create table budgets (
  id uuid primary key default gen_random_uuid(),
  name text not null unique,
  scope text not null check (scope in ('global', 'provider', 'tenant', 'key', 'task', 'tag')),
  scope_value text not null default '' check ((scope = 'global') = (scope_value = '')),
  period text not null check (period in ('day', 'month', 'total')),
  time_zone text not null default 'UTC' check (timezone(time_zone, '2000-01-01T00:00:00Z'::timestamptz) is not null),
  limit_nanousd bigint not null check (limit_nanousd >= 0),
  active boolean not null default true,
  created_at timestamptz not null default now()
);
create index budgets_scope on budgets (scope, scope_value) where active;

create table budget_periods (
  id bigint generated always as identity primary key,
  budget_id uuid not null references budgets (id),
  starts_at timestamptz not null,
  ends_at timestamptz not null,
  reserved_nanousd bigint not null default 0 check (reserved_nanousd >= 0),
  spent_nanousd bigint not null default 0,
  unique (budget_id, starts_at)
) with (fillfactor = 50); -- the hot rows: leave room for in-page updates

create table attempts (
  id uuid primary key,
  request_id uuid not null,
  model_id text not null,
  provider text not null,
  hold_nanousd bigint not null check (hold_nanousd >= 0),
  cost_nanousd bigint check (cost_nanousd >= 0),
  state text not null default 'reserved' check (state in ('reserved', 'settled', 'released', 'lapsed')),
  reserved_at timestamptz not null default now(),
  ended_at timestamptz,
  check ((state = 'reserved') = (ended_at is null))
) with (fillfactor = 80);
create index attempts_open on attempts (reserved_at) where state = 'reserved';
create index attempts_request on attempts (request_id);

create table ledger_entries (
  id bigint generated always as identity primary key,
  attempt_id uuid not null references attempts (id),
  period_id bigint not null references budget_periods (id),
  kind text not null check (kind in ('reserve', 'settle', 'release', 'lapse', 'adjust')),
  reserved_delta_nanousd bigint not null,
  spent_delta_nanousd bigint not null,
  created_at timestamptz not null default now(),
  unique (attempt_id, period_id, kind)
);

create function ledger_is_append_only_v1() returns trigger language plpgsql set search_path = public, pg_temp as
  $$ begin raise exception 'ledger_entries is append-only: add an adjust entry instead'; end $$;
create trigger ledger_entries_append_only before update or delete or truncate on ledger_entries
  for each statement execute function ledger_is_append_only_v1();

create function period_start_v1(period text, time_zone text, at timestamptz) returns timestamptz
language sql stable return case period
  when 'total' then '1970-01-01T00:00:00Z'::timestamptz
  else date_trunc(period, at at time zone time_zone) at time zone time_zone end;

create function period_end_v1(period text, time_zone text, starts_at timestamptz) returns timestamptz
language sql stable return case period
  when 'total' then 'infinity'::timestamptz
  else ((starts_at at time zone time_zone) + ('1 ' || period)::interval) at time zone time_zone end;
