-- Texts with their vectors, per model. Vectors of two models never compare, so each model has its own index:
-- one partial HNSW index per 384-dimensional model; other dimensions get a table of their own when they come.
create table embeddings (
  id uuid not null,
  tenant text not null,
  model_id text not null,
  text text not null,
  metadata jsonb not null default '{}'::jsonb,
  embedding extensions.vector(384) not null,
  created_at timestamptz not null default now(),
  primary key (tenant, model_id, id)
);

create function ensure_embedding_index_v1(p_model_id text) returns void language plpgsql set search_path = public, pg_temp as $$
begin
  execute format(
    'create index if not exists %I on public.embeddings using hnsw (embedding extensions.vector_cosine_ops) '
    'with (m = 16, ef_construction = 64) where model_id = %L',
    -- the hash keeps 'a-b' and 'a_b', and names that are cut at 63 bytes, apart
    'embeddings_hnsw_' || left(regexp_replace(lower(p_model_id), '[^a-z0-9]+', '_', 'g'), 36) || '_' || left(md5(p_model_id), 8),
    p_model_id);
end $$;

select ensure_embedding_index_v1(m) from unnest(array[
  'minilm-l6-builtin', 'all-minilm-l6-v2', 'bge-small-en-v1.5', 'multilingual-e5-small']) m;
