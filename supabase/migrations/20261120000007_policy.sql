-- Routing policies are immutable versions; one is active. Settings kept here outrank environment and file.
create table routing_policies (
  version text primary key,
  name text not null,
  policy jsonb not null,
  created_at timestamptz not null default now(),
  created_by text not null default 'system',
  activated_at timestamptz
);
create unique index routing_policies_one_active on routing_policies ((true)) where activated_at is not null;

-- One transaction, so that there is always one active version, and two who activate at once do not meet half-way.
create function activate_policy_v1(p_version text, p_name text, p_policy jsonb, p_by text) returns void
language plpgsql set search_path = public, pg_temp as $$
begin
  perform pg_advisory_xact_lock(hashtext('pennyroute.activate_policy'));
  insert into routing_policies (version, name, policy, created_by) values (p_version, p_name, p_policy, p_by)
    on conflict (version) do nothing;
  update routing_policies set activated_at = null where activated_at is not null and version <> p_version;
  update routing_policies set activated_at = now() where version = p_version and activated_at is null;
end $$;

-- What a policy scores with: artefacts learned from a deployment's own labels. The shipped one is a file.
create table routing_artefacts (
  version text primary key,
  artefact bytea not null,
  facts jsonb not null default '{}'::jsonb,
  created_at timestamptz not null default now(),
  created_by text not null default 'system'
);

create table settings (
  name text primary key,
  value jsonb not null,
  changed_at timestamptz not null default now(),
  changed_by text not null
);
