-- Who sees what through Supabase's API: `supabase test db`, or scripts/db-test where pgTAP is to be had.
begin;
select plan(31);

select is(
  (select count(*) from pg_class c where c.relnamespace = 'public'::regnamespace and c.relkind in ('r', 'p')
      and not c.relrowsecurity and c.relname ~ '^(api_keys|attempts|budget|embeddings|inference|jobs|ledger|model|routing|settings)'),
  0::bigint, 'every table has row level security, partitions too');

-- anon: nothing
select table_privs_are('public', t, 'anon', '{}', 'anon has nothing on ' || t)
  from unnest(array['api_keys', 'attempts', 'budgets', 'embeddings', 'jobs', 'ledger_entries', 'model_inferences',
                    'model_inferences_default', 'settings']) as t;

-- authenticated: reads six tables
select table_privs_are('public', t, 'authenticated', array['SELECT'], 'a signed-in person only reads ' || t)
  from unnest(array['budget_periods', 'budgets', 'embeddings', 'inference_texts', 'jobs', 'model_inferences']) as t;
select table_privs_are('public', t, 'authenticated', '{}', 'a signed-in person has nothing on ' || t)
  from unnest(array['api_keys', 'attempts', 'ledger_entries', 'routing_policies', 'settings', 'model_inferences_default']) as t;
select function_privs_are('public', 'ledger_apply_v1', array['jsonb', 'jsonb', 'jsonb'], 'authenticated', '{}');
select function_privs_are('public', 'expire_texts_v1', array['interval'], 'authenticated', '{}');
select function_privs_are('public', 'current_tenant_v1', '{}', 'authenticated', array['EXECUTE']);

insert into embeddings (id, tenant, model_id, text, embedding)
  select gen_random_uuid(), tenant, 'm', 't', array_fill(1, array[384])::real[]::extensions.vector
    from unnest(array['acme', 'rival']) as tenant;
insert into budgets (name, scope, scope_value, period, limit_nanousd)
  select 'test ' || tenant, 'tenant', tenant, 'month', 1000 from unnest(array['acme', 'rival']) as tenant;

set local role authenticated;
select set_config('request.jwt.claims', '{"app_metadata": {"tenant": "acme"}}', true);
select results_eq('select distinct tenant from embeddings', array['acme'], 'a person sees their tenant''s vectors');
select results_eq('select name from budgets', array['test acme'], 'and their tenant''s budget');
select throws_ok('update budgets set limit_nanousd = 9', '42501', null, 'and changes nothing');
select set_config('request.jwt.claims', '{"user_metadata": {"tenant": "acme"}}', true);
select is_empty('select from embeddings', 'what a person says of themselves opens nothing');
set local role anon;
select throws_ok('select from embeddings', '42501', null, 'anon is denied');
set local role service_role;
select isnt_empty('select from embeddings where tenant = ''rival''', 'the service role sees everything');

reset role;
select * from finish();
rollback;
