-- Who may see what through Supabase's API. The server itself connects as the owner and is not bound by this.
-- anon: nothing. authenticated: reads the rows of its own tenant. service_role: everything.
-- Everything is named: a project may hold tables and functions of its own, which are none of our business.
do $$
declare
  t text;
begin
  foreach t in array array[
      'api_keys', 'attempts', 'budget_periods', 'budgets', 'embeddings', 'inference_texts', 'jobs', 'ledger_entries',
      'model_inferences', 'routing_artefacts', 'routing_policies', 'settings', 'inference_texts_default', 'model_inferences_default'] loop
    execute format('alter table public.%I enable row level security', t);
    execute format('revoke all on public.%I from public, anon, authenticated', t);
    execute format('grant all on public.%I to service_role', t);
  end loop;
end $$;

revoke all on sequence budget_periods_id_seq, ledger_entries_id_seq from anon, authenticated;
grant usage, select on sequence budget_periods_id_seq, ledger_entries_id_seq to service_role;
revoke all on budget_states, ledger_disagreements from anon, authenticated;
grant select on budget_states, ledger_disagreements to service_role;

grant select on model_inferences, inference_texts, embeddings, jobs, budgets, budget_periods to authenticated;

-- `(select …)` makes the tenant one look at the token per statement instead of one per row.
create policy tenant_reads on model_inferences for select to authenticated
  using (tenant = (select current_tenant_v1()));
create policy tenant_reads on embeddings for select to authenticated using (tenant = (select current_tenant_v1()));
create policy tenant_reads on jobs for select to authenticated using (tenant = (select current_tenant_v1()));
create policy tenant_reads on inference_texts for select to authenticated using (
  exists (select from model_inferences i
           where i.id = inference_id and i.created_at = inference_texts.created_at
             and i.tenant = (select current_tenant_v1())));
create policy tenant_reads on budgets for select to authenticated
  using (scope = 'tenant' and scope_value = (select current_tenant_v1()));
create policy tenant_reads on budget_periods for select to authenticated
  using (exists (select from budgets b where b.id = budget_id));

-- Functions are callable by everyone unless said otherwise; these move money, rows and tables.
do $$
declare
  f regprocedure;
begin
  for f in select p.oid::regprocedure from pg_proc p join pg_namespace n on n.oid = p.pronamespace
            where n.nspname = 'public' and p.proname in (
              'activate_policy_v1',
              'ensure_embedding_index_v1', 'ensure_partitions_v1', 'expire_texts_v1', 'inference_stats_v1',
              'ledger_apply_v1', 'ledger_bar_v1', 'ledger_claims_v1', 'ledger_end_v1', 'ledger_finish_v1', 'ledger_grant_v1',
              'ledger_is_append_only_v1', 'ledger_overrun_v1', 'ledger_reserve_v1', 'ledger_sweep_v1',
              'log_inferences_v1', 'period_end_v1', 'period_start_v1') loop
    execute format('revoke execute on function %s from public, anon, authenticated', f);
    execute format('grant execute on function %s to service_role', f);
  end loop;
end $$;
