-- What the router learns from: judged requests, the watches of contracts, and past prompts with known outcomes.

-- One judged request: model → quality of its answer in [0, 1]. `text` is kept where texts are kept, and goes with them.
create table quality_labels (
  id uuid primary key,
  tenant text not null,
  task_class text not null,
  outcomes jsonb not null check (jsonb_typeof(outcomes) = 'object'),
  score double precision,
  scorer text,
  served text,
  contract_version text,
  inclusion double precision not null default 1 check (inclusion > 0 and inclusion <= 1),
  source text not null default 'person',
  request_id uuid,
  text text,
  answers jsonb not null default '{}'::jsonb check (jsonb_typeof(answers) = 'object'),
  created_at timestamptz not null default now()
);
create index quality_labels_class on quality_labels (task_class, created_at);
create index quality_labels_texts on quality_labels (created_at) where text is not null;

-- The game against each contract's promise (core/contract/watch.py), moved on by one label at a time.
create table contract_watches (
  contract_version text primary key,
  state jsonb not null,
  updated_at timestamptz not null default now()
);

-- A request is one row of a watch however many people judge it: two labels of one answer are not two draws.
create table watched_requests (
  contract_version text not null,
  request_id uuid not null,
  primary key (contract_version, request_id)
);

-- Past prompts by meaning. Not the text: only its hash, so that a prompt judged again is noticed.
create table neighbours (
  id uuid primary key default gen_random_uuid(),
  tenant text not null,
  model_id text not null,
  text_sha256 bytea not null check (octet_length(text_sha256) = 32),
  embedding extensions.vector(384) not null,
  outcomes jsonb not null check (jsonb_typeof(outcomes) = 'object'),
  created_at timestamptz not null default now()
);
create unique index neighbours_text on neighbours (tenant, model_id, text_sha256);

-- As with embeddings: vectors of two models never compare, so each model has an index of its own.
create function ensure_neighbour_index_v1(p_model_id text) returns void language plpgsql set search_path = public, pg_temp as $$
begin
  execute format(
    'create index if not exists %I on public.neighbours using hnsw (embedding extensions.vector_cosine_ops) '
    'with (m = 16, ef_construction = 64) where model_id = %L',
    'neighbours_hnsw_' || left(regexp_replace(lower(p_model_id), '[^a-z0-9]+', '_', 'g'), 36) || '_' || left(md5(p_model_id), 8),
    p_model_id);
end $$;

select ensure_neighbour_index_v1(m) from unnest(array[
  'minilm-l6-builtin', 'all-minilm-l6-v2', 'bge-small-en-v1.5', 'multilingual-e5-small']) m;

create function expire_label_texts_v1(p_older_than interval) returns bigint language plpgsql set search_path = public, pg_temp as $$
declare
  v_count bigint;
begin
  update quality_labels set text = null, answers = '{}' where text is not null and created_at < now() - p_older_than;
  get diagnostics v_count = row_count;
  return v_count;
end $$;

-- Who may see what, as in the file before: authenticated reads the rows of its own tenant.
do $$
declare
  t text;
begin
  foreach t in array array['quality_labels', 'contract_watches', 'watched_requests', 'neighbours'] loop
    execute format('alter table public.%I enable row level security', t);
    execute format('revoke all on public.%I from public, anon, authenticated', t);
    execute format('grant all on public.%I to service_role', t);
  end loop;
end $$;

grant select on quality_labels, neighbours to authenticated;
create policy tenant_reads on quality_labels for select to authenticated using (tenant = (select current_tenant_v1()));
create policy tenant_reads on neighbours for select to authenticated using (tenant = (select current_tenant_v1()));

revoke execute on function ensure_neighbour_index_v1(text), expire_label_texts_v1(interval) from public, anon, authenticated;
grant execute on function ensure_neighbour_index_v1(text), expire_label_texts_v1(interval) to service_role;
