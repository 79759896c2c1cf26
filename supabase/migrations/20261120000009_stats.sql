-- What `pennyroute stats` and dashboards read: one row per task, model and tier since a moment.
create function inference_stats_v1(since timestamptz)
returns table (task text, model_id text, tier text, attempts bigint, accepted bigint, failed bigint,
               cost_nanousd bigint, input_tokens bigint, output_tokens bigint,
               p50_latency_ms double precision, p95_latency_ms double precision, mean_quality double precision)
language sql stable as $$
  select i.task, i.model_id, i.tier, count(*), count(*) filter (where i.accepted),
         count(*) filter (where i.error_code is not null), sum(i.cost_nanousd)::bigint,
         sum(i.input_tokens + i.cache_read_tokens + i.cache_write_tokens)::bigint, sum(i.output_tokens)::bigint,
         percentile_cont(0.5) within group (order by i.latency_ms),
         percentile_cont(0.95) within group (order by i.latency_ms), avg(i.quality_score)
    from model_inferences i
   where i.created_at >= since
   group by i.task, i.model_id, i.tier
   order by i.task, sum(i.cost_nanousd) desc, i.model_id $$;
