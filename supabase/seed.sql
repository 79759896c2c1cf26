-- The hard default: $200 a month over everything. Idempotent.
insert into budgets (name, scope, period, limit_nanousd) values ('global', 'global', 'month', 200000000000)
  on conflict (name) do nothing;
