-- The ledger's one door. A process sends everything that waits (endings with their log rows, and holds) and
-- gets it in ONE transaction: settle and log row commit together, and many attempts share one commit.
--
-- Locks are always taken in this order: attempts by id, then new budget periods by budget, then periods by id.
create type ledger_claim as (attempt_id uuid, hold_nanousd bigint, period_id bigint);
create type ledger_delta as (period_id bigint, reserved_nanousd bigint, spent_nanousd bigint);
create type ledger_ended as (attempt_id uuid, ending text);

-- The budgets each hold counts on, as claims on their current periods (made where missing).
create function ledger_claims_v1(p_holds jsonb) returns ledger_claim[] language plpgsql
set search_path = public, pg_temp as $$
declare
  v_claims ledger_claim[];
  v_missing boolean;
begin
  for attempt in 1..2 loop
    select array_agg(row (h.attempt_id, h.hold_nanousd, p.id)::ledger_claim), bool_or(p.id is null)
      into v_claims, v_missing
      from jsonb_to_recordset(p_holds) as h (attempt_id uuid, hold_nanousd bigint, provider text,
                                             tenant text, key_id text, task text, tags text[])
      cross join lateral (
        values ('global', ''), ('provider', h.provider), ('tenant', h.tenant), ('key', h.key_id), ('task', h.task)
        union select 'tag', tag from unnest(h.tags) as tag -- `union`: a tag given twice counts once
      ) as k (scope, scope_value)
      join budgets b on b.active and b.scope = k.scope and b.scope_value = k.scope_value
      left join budget_periods p
        on p.budget_id = b.id and p.starts_at = period_start_v1(b.period, b.time_zone, now());
    if not coalesce(v_missing, false) then
      return coalesce(v_claims, '{}');
    end if;
    -- Two processes may get here at once: the second waits for the first and then finds its rows. The order keeps
    -- them from waiting for each other.
    insert into budget_periods (budget_id, starts_at, ends_at)
      select b.id, s.starts_at, period_end_v1(b.period, b.time_zone, s.starts_at)
        from budgets b, lateral (select period_start_v1(b.period, b.time_zone, now()) as starts_at) s
       where b.active
       order by b.id
      on conflict do nothing;
  end loop;
  raise exception 'a budget period could not be made';
end $$;

-- Grants claims: moves money from free to reserved and writes attempt and entries.
create function ledger_grant_v1(p_holds jsonb, p_claims ledger_claim[]) returns void language plpgsql
set search_path = public, pg_temp as $$
begin
  insert into attempts (id, request_id, model_id, provider, hold_nanousd)
    select h.attempt_id, h.request_id, h.model_id, h.provider, h.hold_nanousd
      from jsonb_to_recordset(p_holds) as h (attempt_id uuid, request_id uuid, model_id text, provider text,
                                             hold_nanousd bigint)
     order by h.attempt_id;
  insert into ledger_entries (attempt_id, period_id, kind, reserved_delta_nanousd, spent_delta_nanousd)
    select c.attempt_id, c.period_id, 'reserve', c.hold_nanousd, 0 from unnest(p_claims) c;
  update budget_periods p set reserved_nanousd = p.reserved_nanousd + d.amount
    from (select c.period_id, sum(c.hold_nanousd) as amount from unnest(p_claims) c group by c.period_id) d
   where p.id = d.period_id;
end $$;

-- The first budget that a set of claims would overrun, or no row.
create function ledger_overrun_v1(p_claims ledger_claim[])
returns table (budget text, limit_nanousd bigint, used_nanousd bigint, asked_nanousd bigint, resets_at timestamptz)
language sql stable set search_path = public, pg_temp as $$
  select b.name, b.limit_nanousd, p.spent_nanousd + p.reserved_nanousd, d.amount::bigint, p.ends_at
    from (select c.period_id, sum(c.hold_nanousd) as amount from unnest(p_claims) c group by c.period_id) d
    join budget_periods p on p.id = d.period_id
    join budgets b on b.id = p.budget_id
   where p.spent_nanousd + p.reserved_nanousd + d.amount > b.limit_nanousd
   order by p.id
   limit 1 $$;

-- Reserves each hold on all its budgets or none, first come first served. Returns the refusals.
create function ledger_reserve_v1(p_holds jsonb, p_claims ledger_claim[]) returns jsonb language plpgsql
set search_path = public, pg_temp as $$
declare
  v_refusals jsonb := '[]';
  v_hold jsonb;
  v_own ledger_claim[];
  v_overrun record;
begin
  if not exists (select from ledger_overrun_v1(p_claims)) then
    perform ledger_grant_v1(p_holds, p_claims);
    return v_refusals;
  end if;
  for v_hold in select value from jsonb_array_elements(p_holds) loop -- near a limit: one by one
    select coalesce(array_agg(c), '{}') into v_own
      from unnest(p_claims) c where c.attempt_id = (v_hold ->> 'attempt_id')::uuid;
    select * into v_overrun from ledger_overrun_v1(v_own);
    if found then
      v_refusals := v_refusals || (to_jsonb(v_overrun) || jsonb_build_object('attempt_id', v_hold -> 'attempt_id'));
    else
      perform ledger_grant_v1(jsonb_build_array(v_hold), v_own);
    end if;
  end loop;
  return v_refusals;
end $$;

-- A release whose hold may not be in the books (yet): its transaction was sent and its answer never came. Where the
-- attempt is unknown a released one is written, and the lost transaction, should it still come, meets that row and
-- fails whole. So a hold in doubt is free again whichever of the two arrives first.
create function ledger_bar_v1(p_endings jsonb) returns void language sql
set search_path = public, pg_temp as $$
  insert into attempts (id, request_id, model_id, provider, hold_nanousd, cost_nanousd, state, ended_at)
  select e.attempt_id, e.request_id, e.model_id, e.provider, e.hold_nanousd, 0, 'released', now()
    from jsonb_to_recordset(p_endings) as e (attempt_id uuid, request_id uuid, model_id text, provider text,
                                             hold_nanousd bigint, in_doubt boolean)
   where e.in_doubt
   order by e.attempt_id
  on conflict (id) do nothing $$;

-- Ends one attempt and writes its entries. Only a reserved one moves; a lapsed one may still be corrected when its
-- cost becomes known; every other repeat changes nothing. Returns what its budgets change by, null if it did not move.
create function ledger_end_v1(p_id uuid, p_ending text, p_cost_nanousd bigint) returns ledger_delta[] language plpgsql
set search_path = public, pg_temp as $$
declare
  v_before attempts;
  v_cost bigint;
  v_deltas ledger_delta[];
begin
  select * into v_before from attempts
    where id = p_id and (state = 'reserved' or (state = 'lapsed' and p_ending <> 'lapsed')) for update;
  if not found then
    return null;
  end if;
  v_cost := case p_ending when 'settled' then p_cost_nanousd when 'released' then 0 else v_before.hold_nanousd end;
  update attempts set state = p_ending, ended_at = now(), cost_nanousd = v_cost where id = p_id;
  with entries as (
    insert into ledger_entries (attempt_id, period_id, kind, reserved_delta_nanousd, spent_delta_nanousd)
    select p_id, r.period_id,
           case when v_before.state = 'lapsed' then 'adjust'
                else case p_ending when 'settled' then 'settle' when 'released' then 'release' else 'lapse' end end,
           case v_before.state when 'lapsed' then 0 else -v_before.hold_nanousd end,
           v_cost - case v_before.state when 'lapsed' then v_before.hold_nanousd else 0 end
      from ledger_entries r where r.attempt_id = p_id and r.kind = 'reserve'
    returning period_id, reserved_delta_nanousd, spent_delta_nanousd
  )
  select coalesce(array_agg(row (period_id, reserved_delta_nanousd, spent_delta_nanousd)::ledger_delta), '{}')
    into v_deltas from entries;
  return v_deltas;
end $$;

-- Ends each attempt once: of two endings in one batch the definite one counts, then the earlier. Returns what moved.
-- One key at a time: a join against the batch was planned while the tables were small and then read them whole.
create function ledger_finish_v1(p_endings jsonb) returns ledger_ended[] language plpgsql
set search_path = public, pg_temp as $$
declare
  v_ending record;
  v_deltas ledger_delta[];
  v_all ledger_delta[] := '{}';
  v_moved ledger_ended[] := '{}';
begin
  for v_ending in
    select distinct on (e.attempt_id) e.attempt_id, e.ending, e.cost_nanousd
      from rows from (jsonb_to_recordset(p_endings) as (attempt_id uuid, ending text, cost_nanousd bigint))
           with ordinality as e (attempt_id, ending, cost_nanousd, n)
     order by e.attempt_id, e.ending = 'lapsed', e.n
  loop
    v_deltas := ledger_end_v1(v_ending.attempt_id, v_ending.ending, v_ending.cost_nanousd);
    if v_deltas is not null then
      v_all := v_all || v_deltas;
      v_moved := v_moved || row (v_ending.attempt_id, v_ending.ending)::ledger_ended;
    end if;
  end loop;
  update budget_periods p
     set reserved_nanousd = p.reserved_nanousd + d.reserved, spent_nanousd = p.spent_nanousd + d.spent
    from (select a.period_id, sum(a.reserved_nanousd) as reserved, sum(a.spent_nanousd) as spent
            from unnest(v_all) a group by a.period_id) d
   where p.id = d.period_id;
  return v_moved;
end $$;

-- Writes log rows and their texts. A paid attempt's row is written when its ending moved and is what the books say
-- now, a local one's once. A row that said `lapsed` is corrected together with its attempt.
create function log_inferences_v1(p_rows jsonb, p_moved ledger_ended[]) returns void language sql
set search_path = public, pg_temp as $$
  with rows as materialized (
    select r.*, t.input, t.output
      from jsonb_array_elements(p_rows) as item
      cross join lateral jsonb_populate_record(null::model_inferences, item) as r
      cross join lateral jsonb_to_record(item) as t (paid boolean, input text, output text)
     where not t.paid or row (r.id, r.ending)::ledger_ended = any (p_moved)
  ), kept as (
    insert into model_inferences as old (
      id, request_id, created_at, tenant, key_id, user_ref, task, model_id, provider, tier, strategy, complexity, rung,
      accepted, ending, quality_score, signals, hold_nanousd, cost_nanousd, latency_ms, input_tokens, cache_read_tokens,
      cache_write_tokens, output_tokens, finish_reason, error_code, error, routing_reason, plan, features,
      task_class, contract, scorer, registry_version, policy_version, propensity, tags, metadata)
    select id, request_id, created_at, tenant, key_id, user_ref, task, model_id, provider, tier, strategy, complexity,
      rung, accepted, ending, quality_score, signals, hold_nanousd, cost_nanousd, latency_ms, input_tokens,
      cache_read_tokens, cache_write_tokens, output_tokens, finish_reason, error_code, error, routing_reason, plan,
      features, task_class, contract, scorer, registry_version, policy_version, propensity, tags, metadata
      from rows
    on conflict (id, created_at) do update set
      accepted = excluded.accepted, ending = excluded.ending, quality_score = excluded.quality_score,
      signals = excluded.signals, cost_nanousd = excluded.cost_nanousd, latency_ms = excluded.latency_ms,
      input_tokens = excluded.input_tokens, cache_read_tokens = excluded.cache_read_tokens,
      cache_write_tokens = excluded.cache_write_tokens, output_tokens = excluded.output_tokens,
      finish_reason = excluded.finish_reason, error_code = excluded.error_code, error = excluded.error
      where old.ending = 'lapsed' and excluded.ending <> 'lapsed'
  )
  insert into inference_texts as old (inference_id, created_at, input, output)
  select id, created_at, input, output from rows where input is not null or output is not null
  on conflict (inference_id, created_at) do update set output = excluded.output
    where old.output is null and excluded.output is not null $$;

-- Everything one process has waiting, in one transaction: endings first, so that what they free can be reserved.
-- A handful of rows are touched, each by its key; the planner, who takes a JSON array for a hundred rows, is told so.
create function ledger_apply_v1(p_endings jsonb, p_rows jsonb, p_holds jsonb) returns jsonb language plpgsql
set search_path = public, pg_temp set enable_seqscan = off as $$
declare
  v_ids uuid[];
  v_periods bigint[];
  v_moved ledger_ended[] := '{}';
  v_claims ledger_claim[] := '{}';
  v_refusals jsonb := '[]';
begin
  if jsonb_array_length(p_endings) > 0 then
    if p_endings @> '[{"in_doubt": true}]' then
      perform ledger_bar_v1(p_endings);
    end if;
    select array_agg((e ->> 'attempt_id')::uuid) into v_ids from jsonb_array_elements(p_endings) e;
    perform 1 from attempts where id = any (v_ids) order by id for update;
  end if;
  if jsonb_array_length(p_holds) > 0 then
    v_claims := ledger_claims_v1(p_holds);
  end if;
  select array_agg(c.period_id) into v_periods from unnest(v_claims) c;
  if v_ids is not null then
    select v_periods || array_agg(period_id) into v_periods
      from ledger_entries where attempt_id = any (v_ids) and kind = 'reserve';
  end if;
  perform 1 from budget_periods where id = any (v_periods) order by id for update;
  if v_ids is not null then
    v_moved := ledger_finish_v1(p_endings);
  end if;
  if jsonb_array_length(p_rows) > 0 then
    perform log_inferences_v1(p_rows, v_moved);
  end if;
  if jsonb_array_length(p_holds) > 0 then
    v_refusals := ledger_reserve_v1(p_holds, v_claims);
  end if;
  return v_refusals;
end $$;

-- Lapses reservations that nobody ended: what cannot be proved free counts as spent. Returns how many.
-- Rows that somebody is just ending are skipped: they end by themselves.
create function ledger_sweep_v1(older_than interval) returns integer language plpgsql
set search_path = public, pg_temp as $$
declare
  v_endings jsonb;
begin
  select coalesce(jsonb_agg(jsonb_build_object('attempt_id', id, 'ending', 'lapsed')), '[]') into v_endings
    from (select id from attempts where state = 'reserved' and reserved_at < now() - older_than
           order by id limit 1000 for update skip locked) as lost;
  perform ledger_apply_v1(v_endings, '[]', '[]');
  return jsonb_array_length(v_endings);
end $$;

-- How every budget stands now; a budget whose period has not begun shows zero.
create view budget_states with (security_invoker = true) as
  select b.id, b.name, b.scope, b.scope_value, b.period, b.limit_nanousd,
         coalesce(p.spent_nanousd, 0) as spent_nanousd, coalesce(p.reserved_nanousd, 0) as reserved_nanousd,
         nullif(period_end_v1(b.period, b.time_zone, s.starts_at), 'infinity') as resets_at
    from budgets b
    cross join lateral (select period_start_v1(b.period, b.time_zone, now()) as starts_at) s
    left join budget_periods p on p.budget_id = b.id and p.starts_at = s.starts_at
   where b.active;

-- Every way the books could disagree; no row means that they agree. Reads everything: a check, not a dashboard.
create view ledger_disagreements with (security_invoker = true) as
  select 'period ' || p.id as subject,
         format('balance %s reserved, %s spent; entries say %s, %s', p.reserved_nanousd, p.spent_nanousd,
                coalesce(e.reserved, 0), coalesce(e.spent, 0)) as finding
    from budget_periods p
    left join (select period_id, sum(reserved_delta_nanousd) as reserved, sum(spent_delta_nanousd) as spent
                 from ledger_entries group by period_id) e on e.period_id = p.id
   where p.reserved_nanousd <> coalesce(e.reserved, 0) or p.spent_nanousd <> coalesce(e.spent, 0)
  union all
  select 'attempt ' || a.id,
         format('%s with hold %s and cost %s; its entries in period %s say %s reserved, %s spent', a.state, a.hold_nanousd,
                coalesce(a.cost_nanousd, 0), e.period_id, e.reserved, e.spent)
    from attempts a
    join (select attempt_id, period_id, sum(reserved_delta_nanousd) as reserved, sum(spent_delta_nanousd) as spent
            from ledger_entries group by attempt_id, period_id) e on e.attempt_id = a.id
   where e.reserved <> case a.state when 'reserved' then a.hold_nanousd else 0 end
      or e.spent <> coalesce(a.cost_nanousd, 0)
  union all
  select 'attempt ' || a.id, 'settled without its row in model_inferences'
    from attempts a
   where a.state = 'settled' and not exists (select from model_inferences i where i.id = a.id)
  union all
  select 'attempt ' || a.id,
         format('%s at %s, logged as %s at %s', a.state, coalesce(a.cost_nanousd, 0), i.ending, i.cost_nanousd)
    from attempts a join model_inferences i on i.id = a.id
   where a.state <> i.ending or a.cost_nanousd is distinct from i.cost_nanousd;
