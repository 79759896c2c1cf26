-- The log: one row per attempt. Texts live apart, with their own retention. Both are partitioned by month.
create table model_inferences (
  id uuid not null,
  request_id uuid not null,
  created_at timestamptz not null,
  tenant text not null,
  key_id uuid,
  user_ref text,
  task text not null,
  model_id text not null,
  provider text not null,
  tier text not null,
  strategy text not null,
  complexity text not null,
  rung smallint not null,
  accepted boolean not null,
  ending text not null check (ending in ('settled', 'released', 'lapsed')),
  quality_score real,
  signals jsonb not null default '{}'::jsonb,
  hold_nanousd bigint not null,
  cost_nanousd bigint not null,
  latency_ms real not null,
  input_tokens integer not null,
  cache_read_tokens integer not null,
  cache_write_tokens integer not null,
  output_tokens integer not null,
  finish_reason text,
  error_code text,
  error text,
  routing_reason text not null,
  plan jsonb not null,
  features jsonb,
  task_class text,
  contract jsonb,
  scorer text,
  registry_version text not null,
  policy_version text not null,
  propensity real not null,
  tags text[] not null default '{}',
  metadata jsonb not null default '{}'::jsonb,
  primary key (id, created_at)
) partition by range (created_at);
create index model_inferences_request on model_inferences (request_id);
create index model_inferences_created on model_inferences (created_at desc);

create table inference_texts (
  inference_id uuid not null,
  created_at timestamptz not null,
  input text,
  output text,
  primary key (inference_id, created_at)
) partition by range (created_at);

-- The default partitions catch what no month holds: a stepped clock loses no row.
create table model_inferences_default partition of model_inferences default;
create table inference_texts_default partition of inference_texts default;

-- Makes the partitions of the month `at` falls into; rows that already lie in the default one stay there,
-- and then the month keeps using it. Returns the names made.
--
-- Made apart and then attached: that locks the parent only against other changes of its shape, so the ledger goes
-- on writing. The default partition is locked for the moment of its scan; a long reader of it makes us give up
-- (lock_timeout) and try again at the next tick rather than queue everybody behind us.
create function ensure_partitions_v1(at timestamptz) returns setof text language plpgsql
set search_path = public, pg_temp set lock_timeout = '3s' as $$
declare
  first_day timestamptz := date_trunc('month', at at time zone 'UTC') at time zone 'UTC';
  next_month timestamptz := (date_trunc('month', at at time zone 'UTC') + interval '1 month') at time zone 'UTC';
  parent text;
  child text;
begin
  perform pg_advisory_xact_lock(hashtext('pennyroute.ensure_partitions'));
  foreach parent in array array['model_inferences', 'inference_texts'] loop
    child := parent || '_' || to_char(first_day at time zone 'UTC', 'YYYY_MM');
    if to_regclass('public.' || child) is null then
      begin
        execute format('create table public.%I (like public.%I including all)', child, parent);
        execute format('alter table public.%I enable row level security', child);
        -- Supabase grants new tables to these roles by itself; rows are read through the parent and its policies.
        execute format('revoke all on public.%I from anon, authenticated', child);
        execute format('grant all on public.%I to service_role', child);
        execute format('alter table public.%I attach partition public.%I for values from (%L) to (%L)',
                       parent, child, first_day, next_month);
        return next child;
      exception when check_violation then
        null; -- rows of this month are already in the default partition
      end;
    end if;
  end loop;
end $$;

select ensure_partitions_v1(now());
select ensure_partitions_v1(now() + interval '1 month');

-- Deletes texts older than `keep`, rows stay. Returns how many.
create function expire_texts_v1(keep interval) returns bigint language sql set search_path = public, pg_temp as $$
  with gone as (delete from inference_texts where created_at < now() - keep returning 1) select count(*) from gone $$;
