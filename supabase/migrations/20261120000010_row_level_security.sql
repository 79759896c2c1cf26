-- Who may see what through Supabase's API. The server itself connects as the owner and is not bound by this.
-- anon: nothing. authenticated: reads the rows of its own tenant. service_role: everything.
do $$
declare
  t text;
begin
  for t in select c.relname from pg_class c join pg_namespace n on n.oid = c.relnamespace
            where n.nspname = 'public' and c.relkind in ('r', 'p') loop
    execute format('alter table public.%I enable row level security', t);
    execute format('revoke all on public.%I from anon, authenticated', t);
    execute format('grant all on public.%I to service_role', t);
  end loop;
end $$;

revoke all on budget_states, ledger_disagreements from anon, authenticated;
grant select on budget_states, ledger_disagreements to service_role;

grant select on model_inferences, inference_texts, embeddings, jobs, budgets, budget_periods to authenticated;

create policy tenant_reads on model_inferences for select to authenticated using (tenant = current_tenant_v1());
create policy tenant_reads on embeddings for select to authenticated using (tenant = current_tenant_v1());
create policy tenant_reads on jobs for select to authenticated using (tenant = current_tenant_v1());
create policy tenant_reads on inference_texts for select to authenticated using (
  exists (select from model_inferences i
           where i.id = inference_id and i.created_at = inference_texts.created_at and i.tenant = current_tenant_v1()));
create policy tenant_reads on budgets for select to authenticated
  using (scope = 'tenant' and scope_value = current_tenant_v1());
create policy tenant_reads on budget_periods for select to authenticated
  using (exists (select from budgets b where b.id = budget_id));

-- Functions are callable by everyone unless said otherwise; these move money, rows and tables.
do $$
declare
  f regprocedure;
begin
  for f in select p.oid::regprocedure from pg_proc p join pg_namespace n on n.oid = p.pronamespace
            where n.nspname = 'public' and p.proname ~ '_v\d+$' and p.proname <> 'current_tenant_v1' loop
    execute format('revoke execute on function %s from public, anon, authenticated', f);
    execute format('grant execute on function %s to service_role', f);
  end loop;
end $$;
