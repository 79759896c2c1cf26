-- What Supabase brings and a plain Postgres lacks, made only where absent: the one guarded place.
do $$
begin
  if not exists (select from pg_roles where rolname = 'anon') then create role anon nologin noinherit; end if;
  if not exists (select from pg_roles where rolname = 'authenticated') then create role authenticated nologin noinherit; end if;
  if not exists (select from pg_roles where rolname = 'service_role') then create role service_role nologin noinherit bypassrls; end if;
exception when duplicate_object or unique_violation then
  null; -- roles belong to the cluster: another database's migration made them a moment ago
end $$;

create schema if not exists extensions;
create schema if not exists auth;
grant usage on schema public, extensions to anon, authenticated, service_role;

do $$
begin
  if to_regprocedure('auth.jwt()') is null then
    create function auth.jwt() returns jsonb language sql stable as
      $f$ select coalesce(nullif(current_setting('request.jwt.claims', true), '')::jsonb, '{}'::jsonb) $f$;
  end if;
  if to_regprocedure('auth.uid()') is null then
    create function auth.uid() returns uuid language sql stable as
      $f$ select nullif(auth.jwt() ->> 'sub', '')::uuid $f$;
  end if;
  grant usage on schema auth to anon, authenticated, service_role;
exception when insufficient_privilege then
  null; -- Supabase owns its auth schema and has granted this already
end $$;

create extension if not exists vector with schema extensions;
do $$
declare
  v_schema text;
begin
  select n.nspname into v_schema from pg_extension e join pg_namespace n on n.oid = e.extnamespace where e.extname = 'vector';
  if v_schema <> 'extensions' then
    raise exception 'the extension vector is installed in schema %, and Pennyroute reads it from schema extensions', v_schema
      using hint = 'run `alter extension vector set schema extensions` (columns that use it keep working), then migrate again';
  end if;
end $$;

-- The tenant a signed-in person belongs to, as the server put it into their token.
-- Like every function with a `return` body its names are bound now, so no search_path can change what it reads.
create function current_tenant_v1() returns text language sql stable
  return auth.jwt() -> 'app_metadata' ->> 'tenant';
