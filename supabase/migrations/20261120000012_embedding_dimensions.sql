-- Vectors of any size, kept and searched per model and size: an HNSW index needs one size, so each (model, size) has a
-- partial index over the vectors cast to it. Sizes over 2,000 have none (pgvector's limit) and are searched exactly.
do $$
declare index_name text;
begin
  for index_name in
    select i.relname from pg_index x
      join pg_class i on i.oid = x.indexrelid
     where x.indrelid = 'public.embeddings'::regclass and i.relname like 'embeddings\_hnsw\_%'
  loop
    execute format('drop index public.%I', index_name);
  end loop;
end $$;

drop function ensure_embedding_index_v1(text);

alter table embeddings alter column embedding type extensions.vector;
alter table embeddings
  add column dimensions integer not null generated always as (extensions.vector_dims(embedding)) stored;

create function ensure_embedding_index_v2(p_model_id text, p_dimensions integer) returns void
language plpgsql set search_path = public, pg_temp as $$
begin
  execute format(
    'create index if not exists %I on public.embeddings '
    'using hnsw ((embedding::extensions.vector(%s)) extensions.vector_cosine_ops) '
    'with (m = 16, ef_construction = 64) where model_id = %L and dimensions = %s',
    -- the hash keeps 'a-b' and 'a_b', and names that are cut at 63 bytes, apart
    'embeddings_hnsw_' || left(regexp_replace(lower(p_model_id), '[^a-z0-9]+', '_', 'g'), 30) || '_'
      || left(md5(p_model_id), 8) || '_' || p_dimensions,
    p_dimensions, p_model_id, p_dimensions);
end $$;

-- The nearest texts of one tenant and model, among vectors as long as the query's: cosine similarity, best first.
create function search_embeddings_v1(p_tenant text, p_model_id text, p_vector extensions.vector, p_limit integer)
returns table (id uuid, text text, metadata jsonb, similarity double precision)
language plpgsql stable set search_path = public, pg_temp as $$
declare size integer := extensions.vector_dims(p_vector);
begin
  return query execute format(
    'select e.id, e.text, e.metadata, 1 - (e.embedding::extensions.vector(%1$s) operator(extensions.<=>) $1) '
    '  from public.embeddings e where e.model_id = %2$L and e.dimensions = %1$s and e.tenant = $2 '
    ' order by e.embedding::extensions.vector(%1$s) operator(extensions.<=>) $1 limit $3',
    size, p_model_id) using p_vector, p_tenant, p_limit;
end $$;

select ensure_embedding_index_v2(model_id, dimensions)
  from (values ('minilm-l6-builtin', 384), ('all-minilm-l6-v2', 384), ('bge-small-en-v1.5', 384),
               ('multilingual-e5-small', 384), ('gte-multilingual-base', 768), ('bge-m3', 1024)) m (model_id, dimensions);

revoke execute on function ensure_embedding_index_v2(text, integer),
  search_embeddings_v1(text, text, extensions.vector, integer) from public, anon, authenticated;
grant execute on function ensure_embedding_index_v2(text, integer),
  search_embeddings_v1(text, text, extensions.vector, integer) to service_role;
