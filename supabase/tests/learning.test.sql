-- Who sees what the router learned: labels and neighbours of one's own tenant, nothing of watches, no function.
begin;
select plan(17);

select is(
  (select count(*) from pg_class c where c.relnamespace = 'public'::regnamespace
      and c.relname in ('quality_labels', 'contract_watches', 'watched_requests', 'neighbours') and c.relrowsecurity),
  4::bigint, 'every table of learning has row level security');
select table_privs_are('public', t, 'anon', '{}', 'anon has nothing on ' || t)
  from unnest(array['quality_labels', 'contract_watches', 'watched_requests', 'neighbours']) as t;
select table_privs_are('public', t, 'authenticated', array['SELECT'], 'a signed-in person only reads ' || t)
  from unnest(array['quality_labels', 'neighbours']) as t;
select table_privs_are('public', t, 'authenticated', '{}', 'a signed-in person has nothing on ' || t)
  from unnest(array['contract_watches', 'watched_requests']) as t;
select function_privs_are('public', 'ensure_neighbour_index_v1', array['text'], 'authenticated', '{}');
select function_privs_are('public', 'expire_label_texts_v1', array['interval'], 'authenticated', '{}');

insert into quality_labels (id, tenant, task_class, outcomes, text, created_at)
  select gen_random_uuid(), tenant, 'support', '{"small": 1}', 'words', now() - interval '40 days'
    from unnest(array['acme', 'rival']) as tenant;
insert into neighbours (tenant, model_id, text_sha256, embedding, outcomes)
  select tenant, 'm', sha256('words'), array_fill(1, array[384])::real[]::extensions.vector, '{"small": 1}'
    from unnest(array['acme', 'rival']) as tenant;

set local role authenticated;
select set_config('request.jwt.claims', '{"app_metadata": {"tenant": "acme"}}', true);
select results_eq('select tenant from quality_labels', array['acme'], 'a person sees their tenant''s labels');
select results_eq('select tenant from neighbours', array['acme'], 'and their tenant''s neighbours');
select throws_ok('delete from quality_labels', '42501', null, 'and changes nothing');
select throws_ok('select expire_label_texts_v1(interval ''0 s'')', '42501', null, 'nor lets texts go');
set local role anon;
select throws_ok('select from neighbours', '42501', null, 'anon is denied');
set local role service_role;
select results_eq('select expire_label_texts_v1(interval ''30 days'')', array[2::bigint], 'the service role lets old texts go');

reset role;
select * from finish();
rollback;
