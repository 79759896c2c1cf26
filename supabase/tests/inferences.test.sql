-- The log's partitions and retention.
begin;
select plan(7);

select is_empty('select ensure_partitions_v1(now())', 'this month has its partitions');
select results_eq($$ select ensure_partitions_v1('2031-12-31T23:59:59Z') $$,
                  array['model_inferences_2031_12', 'inference_texts_2031_12'], 'a later month gets its own');
select is_empty($$ select ensure_partitions_v1('2031-12-01T00:00:00Z') $$, 'once');
select table_privs_are('public', 'model_inferences_2031_12', 'anon', '{}', 'closed to anon');
select table_privs_are('public', 'model_inferences_2031_12', 'authenticated', '{}', 'and to signed-in people');

insert into inference_texts (inference_id, created_at, input)
  values (gen_random_uuid(), '2020-01-01T00:00:00Z', 'old'), (gen_random_uuid(), '2031-12-05T00:00:00Z', 'new');
select is((select tableoid::regclass::text from inference_texts where input = 'new'), 'inference_texts_2031_12',
          'rows lie in their month');
select is(expire_texts_v1('30 days'), 1::bigint, 'old texts go');

select * from finish();
rollback;
