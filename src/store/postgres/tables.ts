/** The tables of the control store on PostgreSQL after all migrations. */
// SPDX-License-Identifier: Apache-2.0

/**
 * For each table, its columns, then its constraints and its other indexes, as PostgreSQL describes
 * them. A migration that changes a table must change this text, too; otherwise no store opens.
 */
const TEXT = `
activity
  first_at bigint NOT NULL; last_at bigint NOT NULL; requests bigint NOT NULL;
  span_ms bigint NOT NULL; starts_at bigint NOT NULL; subject text NOT NULL;
  PRIMARY KEY (span_ms, starts_at, subject)
activity_subjects
  is_overflow integer NOT NULL; is_probe integer NOT NULL DEFAULT 0; key_id text;
  key_store text NOT NULL; kms_key_arn text; kms_operation text; last_at bigint NOT NULL;
  operation text NOT NULL; outcome text NOT NULL; principal text; subject text NOT NULL;
  via_service text; vpc text; vpce text; PRIMARY KEY (subject)
admin_token_uses
  id text NOT NULL; last_at bigint NOT NULL; uses bigint NOT NULL; PRIMARY KEY (id)
admin_tokens
  changed_epoch bigint NOT NULL; created_at bigint NOT NULL; created_by text NOT NULL;
  expires_at bigint; id text NOT NULL; mac text NOT NULL; operator text NOT NULL; revoked_at bigint;
  sha256 text NOT NULL; PRIMARY KEY (id); INDEX btree (changed_epoch)
control_events
  at bigint NOT NULL; detail text NOT NULL; epoch bigint NOT NULL; kind text NOT NULL;
  mac text NOT NULL; operator text NOT NULL; seq bigint NOT NULL; PRIMARY KEY (seq)
credential_uses
  access_key_id text NOT NULL; first_at bigint NOT NULL; key_store text NOT NULL;
  last_at bigint NOT NULL; uses bigint NOT NULL; PRIMARY KEY (access_key_id)
credentials
  access_key_id text NOT NULL; changed_epoch bigint NOT NULL DEFAULT 0; created_at bigint NOT NULL;
  expires_at bigint; key_store text NOT NULL; mac text NOT NULL; revoked_at bigint; secret text;
  PRIMARY KEY (access_key_id); INDEX btree (changed_epoch)
dead_man_switches
  changed_epoch bigint NOT NULL DEFAULT 0; key_store text NOT NULL; mac text NOT NULL;
  open_until bigint NOT NULL; operator text NOT NULL; reason text NOT NULL;
  renewed_at bigint NOT NULL; ttl_ms bigint NOT NULL; PRIMARY KEY (key_store);
  INDEX btree (changed_epoch)
epochs
  accepts_any integer NOT NULL; epoch bigint NOT NULL; mac text NOT NULL; tag text NOT NULL;
  PRIMARY KEY (epoch)
external_keys
  can_decrypt integer NOT NULL; can_encrypt integer NOT NULL;
  changed_epoch bigint NOT NULL DEFAULT 0; created_at bigint NOT NULL;
  current_version integer NOT NULL; key_id text NOT NULL; key_store text NOT NULL;
  mac text NOT NULL; status text NOT NULL; PRIMARY KEY (key_store, key_id);
  INDEX btree (changed_epoch)
facts
  changed_epoch bigint NOT NULL DEFAULT 0; mac text NOT NULL DEFAULT ''::text; name text NOT NULL;
  value text NOT NULL; PRIMARY KEY (name); INDEX btree (changed_epoch)
instances
  acked_at bigint NOT NULL; acked_epoch bigint NOT NULL; acked_tag text NOT NULL DEFAULT ''::text;
  beat bigint NOT NULL; grp text NOT NULL; held_ms bigint NOT NULL DEFAULT 0;
  high_epoch bigint NOT NULL; host text NOT NULL; id text NOT NULL; in_flight bigint NOT NULL;
  last_success_at bigint; lease_ms bigint NOT NULL; mac text NOT NULL DEFAULT ''::text;
  pid bigint NOT NULL; reason text; renewed_beat bigint NOT NULL DEFAULT 0; seen_at bigint NOT NULL;
  started_at bigint NOT NULL; state text NOT NULL; version text NOT NULL; worker integer NOT NULL;
  PRIMARY KEY (id)
key_dates
  activate_at bigint; changed_epoch bigint NOT NULL; deactivate_at bigint; key_id text NOT NULL;
  key_store text NOT NULL; mac text NOT NULL; PRIMARY KEY (key_store, key_id);
  INDEX btree (changed_epoch)
key_uses
  key_id text NOT NULL; key_store text NOT NULL; mac text NOT NULL; reserved_uses bigint NOT NULL;
  version bigint NOT NULL; PRIMARY KEY (key_store, key_id, version)
key_versions
  changed_epoch bigint NOT NULL DEFAULT 0; created_at bigint NOT NULL; destroyed_at bigint;
  key_id text NOT NULL; key_store text NOT NULL; mac text NOT NULL; material text;
  reserved_uses bigint NOT NULL; version bigint NOT NULL;
  FOREIGN KEY (key_store, key_id) REFERENCES external_keys(key_store, key_id);
  PRIMARY KEY (key_store, key_id, version); INDEX btree (changed_epoch)
latchkey_schema
  version integer NOT NULL
ledger_writers
  ended_at bigint; flushed_at bigint NOT NULL; id text NOT NULL; started_at bigint NOT NULL;
  PRIMARY KEY (id)
operators
  changed_epoch bigint NOT NULL; created_at bigint NOT NULL; created_by text NOT NULL;
  key_stores text; kind text NOT NULL; mac text NOT NULL; member_of text NOT NULL;
  name text NOT NULL; role text; PRIMARY KEY (name); INDEX btree (changed_epoch)
policies
  action text NOT NULL; changed_epoch bigint NOT NULL; created_at bigint NOT NULL; document text;
  mac text NOT NULL; mode text NOT NULL; name text NOT NULL; operator text NOT NULL;
  reason text NOT NULL; revision bigint NOT NULL; PRIMARY KEY (revision, name);
  INDEX btree (changed_epoch)
registrations
  changed_epoch bigint NOT NULL; dismissed bigint NOT NULL; grp text NOT NULL; host text NOT NULL;
  id text NOT NULL; lease_ms bigint NOT NULL; mac text NOT NULL; pid bigint NOT NULL;
  started_at bigint NOT NULL; version text NOT NULL; worker bigint NOT NULL; PRIMARY KEY (id)
removed_rows
  changed_epoch bigint NOT NULL; mac text NOT NULL; row_key text NOT NULL; table_name text NOT NULL;
  PRIMARY KEY (table_name, row_key); INDEX btree (changed_epoch)
restorations
  approved_by text; approved_epoch bigint; approved_identity text;
  changed_epoch bigint NOT NULL DEFAULT 0; epoch bigint NOT NULL; expires_at bigint NOT NULL;
  id text NOT NULL; identity text NOT NULL; mac text NOT NULL; operator text NOT NULL;
  ready_at bigint NOT NULL; reason text NOT NULL; requested_at bigint NOT NULL;
  target text NOT NULL; PRIMARY KEY (id); INDEX btree (changed_epoch)
restore_requests
  approved_by text; changed_epoch bigint NOT NULL DEFAULT 0; id text NOT NULL; mac text NOT NULL;
  operator text NOT NULL; ready_at bigint NOT NULL; reason text NOT NULL;
  requested_at bigint NOT NULL; switch_ids text NOT NULL; PRIMARY KEY (id);
  INDEX btree (changed_epoch)
retirements
  approved_at bigint; approved_by text; approved_identity text; changed_epoch bigint NOT NULL;
  destroyed_at bigint; identity text NOT NULL; key_id text NOT NULL; key_store text NOT NULL;
  mac text NOT NULL; operator text NOT NULL; quiet_for bigint NOT NULL; reason text NOT NULL;
  requested_at bigint NOT NULL; version bigint NOT NULL; wait_for bigint NOT NULL;
  PRIMARY KEY (key_store, key_id, version); INDEX btree (changed_epoch)
switches
  changed_epoch bigint NOT NULL DEFAULT 0; created_at bigint NOT NULL; criteria text;
  direction text NOT NULL; epoch bigint NOT NULL; id text NOT NULL; key_id text; key_store text;
  mac text NOT NULL; operator text NOT NULL; reason text NOT NULL; scope text NOT NULL;
  until_at bigint; PRIMARY KEY (id); INDEX btree (changed_epoch)
token_keys
  changed_epoch bigint NOT NULL; check_value text NOT NULL; key_id text NOT NULL;
  key_store text NOT NULL; mac text NOT NULL; operator text; reason text; seen_at bigint NOT NULL;
  version bigint NOT NULL; PRIMARY KEY (key_store, key_id, version); INDEX btree (changed_epoch)
version_uses
  caller text NOT NULL; first_at bigint NOT NULL; key_id text NOT NULL; key_store text NOT NULL;
  kind text NOT NULL; last_at bigint NOT NULL; uses bigint NOT NULL; version bigint NOT NULL;
  PRIMARY KEY (key_store, key_id, version, kind, caller)
webhooks
  claimed_until bigint NOT NULL; mac text NOT NULL; name text NOT NULL; owner text NOT NULL;
  seq bigint NOT NULL; PRIMARY KEY (name)
`

/** Table names, each with the definitions of its columns, constraints and indexes. */
export const TABLES: ReadonlyMap<string, ReadonlySet<string>> = new Map(
  TEXT.trim()
    .split(/\n(?=\w)/)
    .map((table) => {
      const [name = '', ...lines] = table.split('\n')
      const items = lines.map((line) => line.trim()).join(' ')
      return [name, new Set(items.split('; '))]
    }),
)
