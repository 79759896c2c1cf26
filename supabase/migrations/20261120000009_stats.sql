-- What `pennyroute stats` and dashboards read: one row per task, model and tier since a moment, of one tenant
-- or, with null, of all.
create function inference_stats_v1(since timestamptz, of_tenant text default null)
returns table (task text, model_id text, tier text, attempts bigint, accepted bigint, failed bigint,
               cost_nanousd bigint, input_tokens bigint, output_tokens bigint,
               p50_latency_ms double precision, p95_latency_ms double precision, mean_quality double precision)
language sql stable set search_path = public, pg_temp as $$
  select i.task, i.model_id, i.tier, count(*), count(*) filter (where i.accepted),
         count(*) filter (where i.error_code is not null), sum(i.cost_nanousd)::bigint,
         sum(i.input_tokens + i.cache_read_tokens + i.cache_write_tokens)::bigint, sum(i.output_tokens)::bigint,
         percentile_cont(0.5) within group (order by i.latency_ms),
         percentile_cont(0.95) within group (order by i.latency_ms), avg(i.quality_score)
    from model_inferences i
   where i.created_at >= since and (of_tenant is null or i.tenant = of_tenant)
   group by i.task, i.model_id, i.tier
   order by i.task, sum(i.cost_nanousd) desc, i.model_id $$;
