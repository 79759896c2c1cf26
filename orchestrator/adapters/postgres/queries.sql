-- name: apply_ledger
select ledger_apply_v1(%(endings)s::jsonb, %(rows)s::jsonb, %(holds)s::jsonb)

-- name: sweep_ledger
select ledger_sweep_v1(make_interval(secs => %(older_than_s)s))

-- name: list_budgets
select name, scope, scope_value, period, limit_nanousd, spent_nanousd, reserved_nanousd, resets_at
  from budget_states order by scope <> 'global', name

-- name: set_budget
insert into budgets (name, scope, scope_value, period, limit_nanousd)
values (%(name)s, case when %(name)s = 'global' then 'global' else 'tenant' end,
        case when %(name)s = 'global' then '' else %(name)s end, 'month', %(limit_nanousd)s)
on conflict (name) do update set limit_nanousd = excluded.limit_nanousd

-- name: ledger_disagreements
select subject, finding from ledger_disagreements order by subject

-- name: inferences_of_request
select i.*, t.input, t.output
  from model_inferences i
  left join inference_texts t on t.inference_id = i.id and t.created_at = i.created_at
 where i.request_id = %(request_id)s
   and i.created_at between %(from)s and %(to)s
 order by i.id

-- name: inference_by_id
select i.*, t.input, t.output
  from model_inferences i
  left join inference_texts t on t.inference_id = i.id and t.created_at = i.created_at
 where i.id = %(id)s and i.created_at between %(from)s and %(to)s

-- name: recent_inferences
select id, request_id, created_at, task, model_id, tier, accepted, error_code, cost_nanousd, latency_ms,
       input_tokens + cache_read_tokens + cache_write_tokens as input_tokens, output_tokens, quality_score, complexity
  from model_inferences
 where created_at >= %(since)s and id > %(after)s and (%(tenant)s::text is null or tenant = %(tenant)s)
 order by created_at desc, id desc
 limit %(limit)s

-- name: inference_stats
select * from inference_stats_v1(%(since)s, %(tenant)s::text)

-- name: store_embeddings
insert into embeddings (id, tenant, model_id, text, metadata, embedding)
select id, %(tenant)s, %(model_id)s, text, metadata, embedding::extensions.vector
  from unnest(%(ids)s::uuid[], %(texts)s::text[], %(metadata)s::jsonb[], %(vectors)s::text[])
       as e (id, text, metadata, embedding)
on conflict (tenant, model_id, id) do update
   set text = excluded.text, metadata = excluded.metadata, embedding = excluded.embedding

-- name: search_embeddings
select id, text, metadata, similarity
  from search_embeddings_v1(%(tenant)s, %(model_id)s, %(vector)s::extensions.vector, %(limit)s)

-- name: newest_embedding_model
-- One look into the primary key per model, however many texts there are.
with recursive newest as (
  (select model_id, id from embeddings where tenant = %(tenant)s order by model_id desc, id desc limit 1)
  union all
  select before.model_id, before.id
    from newest, lateral (
      select e.model_id, e.id from embeddings e where e.tenant = %(tenant)s and e.model_id < newest.model_id
       order by e.model_id desc, e.id desc limit 1) before
)
select model_id from newest order by id desc limit 1

-- name: find_key
select id, name, tenant, role, scopes from api_keys where secret_sha256 = %(sha256)s and revoked_at is null

-- name: create_key
insert into api_keys (name, tenant, role, secret_sha256) values (%(name)s, %(tenant)s, %(role)s, %(sha256)s)
on conflict (secret_sha256) do update set name = excluded.name
returning id, name, tenant, role, scopes

-- name: revoke_key
update api_keys set revoked_at = now() where id = %(id)s and revoked_at is null

-- name: active_policy
select name, policy from routing_policies where activated_at is not null

-- name: policy_versions
select version, name, created_at, created_by, activated_at is not null as active
  from routing_policies
 order by created_at desc, version

-- name: policy_of_version
select name, policy from routing_policies where version = %(version)s

-- name: one_policy_change_at_a_time
select pg_advisory_xact_lock(hashtext('pennyroute.activate_policy'))

-- name: activate_policy
select activate_policy_v1(%(version)s, %(name)s, %(policy)s, %(by)s)

-- name: routing_artefact
select artefact from routing_artefacts where version = %(version)s

-- name: keep_routing_artefact
insert into routing_artefacts (version, artefact, facts, created_by)
values (%(version)s, %(artefact)s, %(facts)s, %(by)s)
on conflict (version) do nothing

-- name: list_settings
select name, value from settings

-- name: set_setting
insert into settings (name, value, changed_by) values (%(name)s, %(value)s, %(by)s)
on conflict (name) do update set value = excluded.value, changed_by = excluded.changed_by, changed_at = now()

-- name: unset_setting
delete from settings where name = %(name)s

-- name: ensure_partitions
select ensure_partitions_v1(now()) union all select ensure_partitions_v1(now() + interval '1 month')

-- name: expire_texts
select expire_texts_v1(make_interval(days => %(keep_days)s)) + expire_label_texts_v1(make_interval(days => %(keep_days)s))

-- name: add_label
insert into quality_labels (id, tenant, task_class, outcomes, score, scorer, served, contract_version, inclusion, source,
                            request_id, text, answers, created_at)
values (%(id)s, %(tenant)s, %(task_class)s, %(outcomes)s, %(score)s, %(scorer)s, %(served)s, %(contract_version)s,
        %(inclusion)s, %(source)s, %(request_id)s, %(text)s, %(answers)s, coalesce(%(created_at)s, now()))
on conflict (id) do nothing
returning id

-- name: labels_of_class
select id, tenant, task_class, outcomes, text, request_id, score, scorer, served, contract_version, inclusion, source,
       created_at, answers
  from quality_labels
 where task_class = %(task_class)s and (%(tenant)s::text is null or tenant = %(tenant)s)
 order by created_at, id

-- name: labels_with_text
select id, tenant, task_class, outcomes, text, request_id, score, scorer, served, contract_version, inclusion, source,
       created_at, answers
  from quality_labels
 where text is not null
 order by created_at desc, id desc
 limit %(limit)s

-- name: one_watch_at_a_time
select pg_advisory_xact_lock(hashtext('pennyroute.watch.' || %(contract_version)s))

-- name: watch_of_contract
select state from contract_watches where contract_version = %(contract_version)s

-- name: watch_request_once
insert into watched_requests (contract_version, request_id) values (%(contract_version)s, %(request_id)s)
on conflict do nothing returning request_id

-- name: keep_watch
insert into contract_watches (contract_version, state) values (%(contract_version)s, %(state)s)
on conflict (contract_version) do update set state = excluded.state, updated_at = now()

-- name: count_neighbours
select model_id, count(*) as count from neighbours where tenant = %(tenant)s group by model_id order by 2 desc, 1

-- name: learn_neighbour
insert into neighbours (tenant, model_id, text_sha256, embedding, outcomes)
values (%(tenant)s, %(model_id)s, %(sha256)s, %(vector)s::extensions.vector, %(outcomes)s)
on conflict (tenant, model_id, text_sha256) do update set outcomes = neighbours.outcomes || excluded.outcomes

-- name: nearest_neighbours
select outcomes, 1 - (embedding operator(extensions.<=>) %(vector)s::extensions.vector) as similarity
  from neighbours
 where model_id = %(model_id)s and tenant = %(tenant)s
 order by embedding operator(extensions.<=>) %(vector)s::extensions.vector
 limit %(limit)s
