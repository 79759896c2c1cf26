-- The ledger's promises in SQL alone: reserve, settle, release, lapse, correct; never over a limit.
begin;
select plan(17);
update budgets set active = name = 'pgtap';
insert into budgets (name, scope, period, limit_nanousd) values ('pgtap', 'global', 'total', 10000);

create function pg_temp.id(n int) returns uuid language sql as $$ select lpad(n::text, 32, '0')::uuid $$;
create function pg_temp.hold(n int, amount bigint) returns jsonb language sql as $$
  select jsonb_build_array(jsonb_build_object('attempt_id', pg_temp.id(n), 'request_id', pg_temp.id(n), 'model_id', 'm',
    'provider', 'p', 'hold_nanousd', amount, 'tenant', 't', 'key_id', '', 'task', 'generate', 'tags', '[]'::jsonb)) $$;
create function pg_temp.ending(n int, how text, cost bigint) returns jsonb language sql as $$
  select jsonb_build_array(jsonb_build_object('attempt_id', pg_temp.id(n), 'ending', how, 'cost_nanousd', cost)) $$;
create function pg_temp.money() returns text language sql as $$
  select spent_nanousd || ' spent, ' || reserved_nanousd || ' reserved' from public.budget_states where name = 'pgtap' $$;

select is(ledger_apply_v1('[]', '[]', pg_temp.hold(1, 6000)), '[]', 'a hold that fits is granted');
select is(pg_temp.money(), '0 spent, 6000 reserved');
select is(ledger_apply_v1('[]', '[]', pg_temp.hold(2, 4001)) -> 0 ->> 'budget', 'pgtap',
          'one that does not fit is refused and names the budget');
select is(pg_temp.money(), '0 spent, 6000 reserved', 'a refusal reserves nothing');
select is(ledger_apply_v1('[]', '[]', pg_temp.hold(3, 4000)), '[]', 'what is left can be held to the last nano-dollar');
select is(ledger_apply_v1(pg_temp.ending(1, 'settled', 1500), '[]', '[]'), '[]', 'settling');
select is(pg_temp.money(), '1500 spent, 4000 reserved', 'moves a hold to its cost');
select ledger_apply_v1(pg_temp.ending(1, 'settled', 9999), '[]', '[]');
select is(pg_temp.money(), '1500 spent, 4000 reserved', 'settling twice changes nothing');
select ledger_apply_v1(pg_temp.ending(3, 'released', 0), '[]', '[]');
select is(pg_temp.money(), '1500 spent, 0 reserved', 'a release gives the hold back');

select is(ledger_apply_v1(pg_temp.ending(1, 'released', 0), '[]', pg_temp.hold(4, 8500)), '[]',
          'what was settled is not released; the rest can be held');
select is(ledger_sweep_v1('1 hour'), 0, 'a young hold is not swept');
select is(ledger_sweep_v1('-1 second'), 1, 'a hold that nobody ended lapses');
select is(pg_temp.money(), '10000 spent, 0 reserved', 'a lapse counts as spent');
select ledger_apply_v1(pg_temp.ending(4, 'settled', 500), '[]', '[]');
select is(pg_temp.money(), '2000 spent, 0 reserved', 'a lapse is corrected when its cost becomes known');

select throws_ok('delete from ledger_entries', 'P0001', 'ledger_entries is append-only: add an adjust entry instead');
select throws_ok($$ select ledger_apply_v1('[]', '[]', pg_temp.hold(4, 1)) $$, '23505', null, 'an attempt is held once');
select is((select count(*) from ledger_disagreements where finding not like 'settled without its row%'), 0::bigint,
          'the books agree (but for the log rows that this test does not write)');

select * from finish();
rollback;
