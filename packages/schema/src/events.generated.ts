// Generated from schemas/ by `pnpm --filter @weft/schema generate`; do not edit.

/** A tracker event as the gateway took it: shape checked, payload untouched. The immutable log that everything is replayed from. */
export interface EventRaw {
  /** Unique within the store; the same id again is a duplicate. */
  event_id: string
  /** Tenant that the record belongs to. */
  store_id: string
  /** Known visitor; null while anonymous. */
  user_id: string | null
  /** Visit that the event belongs to; null when the sender keeps none. */
  session_id: string | null
  /** Event type, such as page_view; weft.tick for a logged tick. */
  type: string
  /** Payload of the event type as JSON text. */
  payload: string
  /** When the tracker sent the event, by the sender's clock. Milliseconds since the epoch. */
  sent_at: number
  /** When the gateway took the event. Milliseconds since the epoch. */
  received_at: number
  /** Idempotency-Key of the request that brought the event. */
  idempotency_key: string | null
  /** User-Agent of the request or event. */
  user_agent: string | null
  /** Page or site that the visitor came from. */
  referrer: string | null
}

/** An event whose payload fits the JSON Schema of its type. */
export interface EventValidated {
  /** Unique within the store; the same id again is a duplicate. */
  event_id: string
  /** Tenant that the record belongs to. */
  store_id: string
  /** Known visitor; null while anonymous. */
  user_id: string | null
  /** Visit that the event belongs to; null when the sender keeps none. */
  session_id: string | null
  /** Event type, such as page_view; weft.tick for a logged tick. */
  type: string
  /** Payload of the event type as JSON text. */
  payload: string
  /** When the tracker sent the event, by the sender's clock. Milliseconds since the epoch. */
  sent_at: number
  /** When the gateway took the event. Milliseconds since the epoch. */
  received_at: number
  /** Idempotency-Key of the request that brought the event. */
  idempotency_key: string | null
  /** User-Agent of the request or event. */
  user_agent: string | null
  /** Page or site that the visitor came from. */
  referrer: string | null
  /** When the event passed validation: the stage's clock, so the same on a replay. Milliseconds since the epoch. */
  validated_at: number
  /** Stage or service that validated the event. */
  validated_by: string | null
  /** Version of the event type's JSON Schema that the payload was checked against. */
  schema_version: string
}

/** A validated event with what could be derived from it: device, referrer, session and currency. */
export interface EventEnriched {
  /** Unique within the store; the same id again is a duplicate. */
  event_id: string
  /** Tenant that the record belongs to. */
  store_id: string
  /** Known visitor; null while anonymous. */
  user_id: string | null
  /** Visit that the event belongs to; null when the sender keeps none. */
  session_id: string | null
  /** Event type, such as page_view; weft.tick for a logged tick. */
  type: string
  /** Payload of the event type as JSON text. */
  payload: string
  /** When the tracker sent the event, by the sender's clock. Milliseconds since the epoch. */
  sent_at: number
  /** When the gateway took the event. Milliseconds since the epoch. */
  received_at: number
  /** User-Agent of the request or event. */
  user_agent: string | null
  /** Page or site that the visitor came from. */
  referrer: string | null
  /** When the event passed validation: the stage's clock, so the same on a replay. Milliseconds since the epoch. */
  validated_at: number
  /** Stage or service that validated the event. */
  validated_by: string | null
  /** Derived facts by dotted name, such as device.type or referrer.source. */
  enrichments: Record<string, string>
  /** When the event was enriched: the stage's clock, so the same on a replay. Milliseconds since the epoch. */
  enriched_at: number
  /** Version of the event type's JSON Schema that the payload was checked against. */
  schema_version: string
}

/** A record that came after its window and the grace period had closed: counted nowhere, kept so that nothing vanishes. */
export interface LateEvent {
  /** Same on a replay: derived from the stage and the record's id. */
  late_id: string
  /** Tenant that the record belongs to. */
  store_id: string
  /** Known visitor; null while anonymous. */
  user_id: string | null
  /** Visit that the event belongs to; null when the sender keeps none. */
  session_id: string | null
  /** Stage whose window had closed. */
  stage: string
  /** Topic that the record was read from. */
  source_topic: string
  /** Event that the record stems from. */
  source_event_id: string | null
  /** Length of the window, such as 1m. */
  window: string
  /** Start of the window that it would have been counted in, inclusive. Milliseconds since the epoch. */
  window_start: number | null
  /** End of that window, exclusive. Milliseconds since the epoch. */
  window_end: number | null
  /** Event time of the record. Milliseconds since the epoch. */
  event_time: number
  /** The stage's clock when the record came. Milliseconds since the epoch. */
  clock: number
  /** Milliseconds between the end of the grace period and the clock. */
  late_by_ms: number
  /** The late record as JSON text. */
  payload: string | null
}

/** One header of the failed record. */
export interface DeadLetterHeader {
  /** Name; names may repeat. */
  name: string
  /** Value, byte for byte. */
  value: Uint8Array
}

/** A record that could not be processed, with all that a repair needs: its bytes, headers and origin, the reason, and who gave up on it after how many attempts. */
export interface DeadLetter {
  /** Same on a replay: derived from the consumer and the origin. */
  dead_letter_id: string
  /** Tenant that the record belongs to; empty when it could not be told. */
  store_id: string
  /** Event that failed; null when the record could not be decoded that far. */
  event_id: string | null
  /** Topic that the record was read from. */
  original_topic: string
  /** Partition that it was read from. */
  original_partition: number
  /** Position in that partition, in the transport's own words. */
  original_position: string
  /** Key, byte for byte. */
  original_key: Uint8Array | null
  /** Body, byte for byte; null for a tombstone. */
  original_value: Uint8Array | null
  /** Headers in their order. */
  original_headers: DeadLetterHeader[]
  /** Event time of the record. Milliseconds since the epoch. */
  original_time: number
  /** Schema of the body as subject/version, such as events.raw.v1/1. */
  original_schema: string | null
  /** Stable code of what was wrong, for scripts and counters. */
  error_code: string
  /** What was wrong and where, for people. */
  error_reason: string
  /** Stage or group that gave up. */
  consumer: string
  /** How often it was tried. */
  attempts: number
  /** When it was given up: the consumer's clock, so the same on a replay. Milliseconds since the epoch. */
  failed_at: number
}

/** Features of a session at one of its events, computed from the events up to it and no others. */
export interface FeatureVector {
  /** Same on a replay: derived from the source event. */
  feature_id: string
  /** Tenant that the record belongs to. */
  store_id: string
  /** Known visitor; null while anonymous. */
  user_id: string | null
  /** Visit that the event belongs to; null when the sender keeps none. */
  session_id: string | null
  /** Type of the source event. */
  event_type: string
  /** Feature values by name. */
  features: Record<string, number>
  /** When they were computed: the stage's clock, so the same on a replay. Milliseconds since the epoch. */
  computed_at: number
  /** Event that they are the features at. */
  source_event_id: string | null
  /** Version of the features' definitions. */
  feature_version: string
  /** When the tracker sent the event, by the sender's clock. Milliseconds since the epoch. */
  sent_at: number
  /** When the gateway took the event. Milliseconds since the epoch. */
  received_at: number
  /** Payload of the source event as JSON text, for rules that read it. */
  payload: string | null
}

/** Latest features of an entity: what an online store is filled and rebuilt from. */
export interface FeatureLatest {
  /** Tenant that the record belongs to. */
  store_id: string
  /** Known visitor; null while anonymous. */
  user_id: string | null
  /** Visit that the event belongs to; null when the sender keeps none. */
  session_id: string | null
  /** Feature values by name. */
  features: Record<string, number>
  /** Version of the features' definitions. */
  feature_version: string | null
  /** When they were last computed: the stage's clock. Milliseconds since the epoch. */
  updated_at: number
  /** How long they may be served; null without a limit. */
  ttl_seconds: number | null
}

/** Reference data about an entity that changes slowly and is joined to its events. */
export interface FeatureEntity {
  /** Tenant that the record belongs to. */
  store_id: string
  /** Known visitor; null while anonymous. */
  user_id: string | null
  /** Visit that the event belongs to; null when the sender keeps none. */
  session_id: string | null
  /** Numeric features by name. */
  features: Record<string, number>
  /** Facts that are not numbers, such as a segment or a country, by name. */
  attributes: Record<string, string>
  /** When the entity was last changed. Milliseconds since the epoch. */
  updated_at: number
}

/** Score of a model for a session at one of its events. */
export interface Score {
  /** Same on a replay: derived from the source event and the model. */
  score_id: string
  /** Tenant that the record belongs to. */
  store_id: string
  /** Known visitor; null while anonymous. */
  user_id: string | null
  /** Visit that the event belongs to; null when the sender keeps none. */
  session_id: string | null
  /** Event that was scored. */
  source_event_id: string
  /** Type of the source event. */
  event_type: string
  /** Model that scored. */
  model_id: string
  /** Version of the model. */
  model_version: string
  /** Probability from 0 to 1. */
  score: number
  /** When the tracker sent the event, by the sender's clock. Milliseconds since the epoch. */
  sent_at: number
  /** When the gateway took the event. Milliseconds since the epoch. */
  received_at: number
  /** When it was scored: the stage's clock, so the same on a replay. Milliseconds since the epoch. */
  scored_at: number
}

/** Prediction of a model for an entity, for what acts on it and for analysis. */
export interface Prediction {
  /** Same on a replay: derived from the source event and the model. */
  prediction_id: string
  /** Tenant that the record belongs to. */
  store_id: string
  /** Known visitor; null while anonymous. */
  user_id: string | null
  /** Visit that the event belongs to; null when the sender keeps none. */
  session_id: string | null
  /** Model that predicted. */
  model_id: string
  /** Version of the model. */
  model_version: string
  /** Probability from 0 to 1. */
  score: number
  /** What the score is made of, by name; empty when the model does not tell. */
  score_breakdown: Record<string, number>
  /** When it was computed: the stage's clock, so the same on a replay. Milliseconds since the epoch. */
  computed_at: number
  /** feature_id of the features that it was computed from. */
  features_ref: string | null
}

/** Latest prediction for an entity: what quick reads and caches are filled and rebuilt from. */
export interface PredictionLatest {
  /** Tenant that the record belongs to. */
  store_id: string
  /** Known visitor; null while anonymous. */
  user_id: string | null
  /** Visit that the event belongs to; null when the sender keeps none. */
  session_id: string | null
  /** The prediction in predictions.v1. */
  prediction_id: string
  /** Model that predicted. */
  model_id: string
  /** Version of the model. */
  model_version: string
  /** Probability from 0 to 1. */
  score: number
  /** What the score is made of, by name; empty when the model does not tell. */
  score_breakdown: Record<string, number>
  /** When it was last computed: the stage's clock. Milliseconds since the epoch. */
  updated_at: number
  /** feature_id of the features that it was computed from. */
  features_ref: string | null
}

/** Rising. A reader takes one that it does not know as a warning. */
export type Severity = 'info' | 'warning' | 'critical'

/** raised when the rule's condition began to hold, cleared when it ended. */
export type AlertState = 'raised' | 'cleared'

/** An alert that a rule raised or cleared for an entity. */
export interface Alert {
  /** Same on a replay: derived from the rule and the record that set it off. */
  alert_id: string
  /** Tenant that the record belongs to. */
  store_id: string
  /** Known visitor; null while anonymous. */
  user_id: string | null
  /** Visit that the event belongs to; null when the sender keeps none. */
  session_id: string | null
  /** Whom it is about: the entity key, store_id:(user_id, else session_id, else empty). */
  entity: string
  /** Name of the rule. */
  rule: string
  /** How urgent it is. */
  severity: Severity
  /** Whether the condition began or ended. */
  state: AlertState
  /** Score that set it off, for rules on scores. */
  score: number | null
  /** Limit of the rule that was crossed. */
  threshold: number | null
  /** What happened, for people. */
  message: string
  /** Event that set it off; null when time did. */
  source_event_id: string | null
  /** Start of the window that was counted, inclusive. Milliseconds since the epoch. */
  window_start: number | null
  /** End of that window, exclusive. Milliseconds since the epoch. */
  window_end: number | null
  /** Event time of what set it off. Milliseconds since the epoch. */
  event_time: number
  /** When it was raised or cleared: the stage's clock, so the same on a replay. Milliseconds since the epoch. */
  raised_at: number
  /** When the gateway took the event that set it off. Milliseconds since the epoch. */
  received_at: number | null
}

/** Counts of an entity in one window of event time. */
export interface AlertAnalytics {
  /** Same on a replay: derived from the entity and the window. */
  analytics_id: string
  /** Tenant that the record belongs to. */
  store_id: string
  /** Known visitor; null while anonymous. */
  user_id: string | null
  /** Visit that the event belongs to; null when the sender keeps none. */
  session_id: string | null
  /** Whom it is about: the entity key, store_id:(user_id, else session_id, else empty). */
  entity: string
  /** Length of the window: 1m, 5m or 1h. */
  window: string
  /** Start of the window, inclusive. Milliseconds since the epoch. */
  window_start: number
  /** End of the window, exclusive. Milliseconds since the epoch. */
  window_end: number
  /** Alerts raised. */
  alerts: number
  /** Alerts raised, by rule. */
  by_rule: Record<string, number>
  /** Alerts raised, by severity. */
  by_severity: Record<string, number>
  /** Events. */
  events: number
  /** Scores. */
  scores: number
  /** Sum of the scores; with scores it gives the mean. */
  score_sum: number
  /** Highest score; 0 without one. */
  score_max: number
}

/** What a delivery worker is to do: show a modal, send an e-mail, apply a coupon. */
export interface InterventionCommand {
  /** Same on a replay: derived from what led to the command. Delivering the same id twice is a mistake. */
  cmd_id: string
  /** Tenant that the record belongs to. */
  store_id: string
  /** Known visitor; null while anonymous. */
  user_id: string | null
  /** Visit that the event belongs to; null when the sender keeps none. */
  session_id: string | null
  /** Channel: email, push, modal or script. */
  type: string
  /** What the channel needs, as JSON text. */
  payload: string
  /** When it was issued: the stage's clock, so the same on a replay. Milliseconds since the epoch. */
  issued_at: number
  /** What decided it, such as rule_engine or ai_engine. */
  origin: string
  /** Event that led to it. */
  source_event_id: string | null
}

/** retried: another attempt follows. */
export type InterventionStatus = 'success' | 'failed' | 'retried'

/** What a delivery worker says became of a command. The same may come more than once: interventions.results.v1 holds each once. */
export interface InterventionReceipt {
  /** cmd_id of the command. */
  command_id: string
  /** Tenant that the record belongs to. */
  store_id: string
  /** Known visitor; null while anonymous. */
  user_id: string | null
  /** Visit that the event belongs to; null when the sender keeps none. */
  session_id: string | null
  /** Outcome of the attempt. */
  status: InterventionStatus
  /** Why it failed; null on success. */
  error_reason: string | null
  /** When it was delivered; null when it was not. Milliseconds since the epoch. */
  delivered_at: number | null
  /** How often it was tried so far. */
  attempts: number
  /** When the worker reported it. Milliseconds since the epoch. */
  reported_at: number
}

/** What became of a command. */
export interface InterventionResult {
  /** cmd_id of the command. */
  command_id: string
  /** Tenant that the record belongs to. */
  store_id: string
  /** Known visitor; null while anonymous. */
  user_id: string | null
  /** Visit that the event belongs to; null when the sender keeps none. */
  session_id: string | null
  /** Outcome of the attempt. */
  status: InterventionStatus
  /** Why it failed; null on success. */
  error_reason: string | null
  /** When it was delivered; null when it was not. Milliseconds since the epoch. */
  delivered_at: number | null
  /** How often it was tried so far. */
  attempts: number
}

/** One sample of a metric of a service, for dashboards that read the log. */
export interface TrackingMetric {
  /** Service that measured, one per process. */
  service_id: string
  /** Name as in Prometheus, such as weft_stage_lag. */
  metric_name: string
  /** Labels by name. */
  labels: Record<string, string>
  /** The sample. */
  metric_value: number
  /** When it was measured. Milliseconds since the epoch. */
  timestamp: number
}

/** available: trained and registered, not yet serving. */
export type ModelEventType = 'available' | 'deploy' | 'rollback' | 'deprecate' | 'delete'

/** A change of a deployed model. */
export interface ModelEvent {
  /** Model that changed. */
  model_name: string
  /** Version that it is about. */
  model_version: string
  /** What happened. */
  event_type: ModelEventType
  /** Details as JSON text, such as held-out metrics. */
  metadata: string | null
  /** When it happened. Milliseconds since the epoch. */
  timestamp: number
}

/** What a model was asked and what it answered, for audits and debugging. */
export interface PredictionAudit {
  /** Same on a replay: derived from the prediction. */
  audit_id: string
  /** Tenant that the record belongs to. */
  store_id: string
  /** Known visitor; null while anonymous. */
  user_id: string | null
  /** Visit that the event belongs to; null when the sender keeps none. */
  session_id: string | null
  /** Model that was asked. */
  model_id: string | null
  /** Version of the model. */
  model_version: string
  /** Features that it was given, as JSON text. */
  features_used: string
  /** Answer as JSON text. */
  prediction: string
  /** When it was asked: the stage's clock. Milliseconds since the epoch. */
  requested_at: number
  /** When it answered: the stage's clock. Milliseconds since the epoch. */
  responded_at: number
}

/** Something is wrong with the system itself: for those who run it. */
export interface SystemAlert {
  /** Unique. */
  alert_id: string
  /** Service that it is about. */
  service_id: string
  /** How urgent it is. */
  severity: Severity
  /** What is wrong and what to do. */
  message: string
  /** When it was noticed. Milliseconds since the epoch. */
  created_at: number
}

/** The value of each topic. */
export interface Events {
  'events.raw.v1': EventRaw
  'events.validated.v1': EventValidated
  'events.enriched.v1': EventEnriched
  'events.late.v1': LateEvent
  'events.dlq.v1': DeadLetter
  'features.stream.v1': FeatureVector
  'features.latest.v1': FeatureLatest
  'features.entity.v1': FeatureEntity
  'signals.scores.v1': Score
  'predictions.v1': Prediction
  'predictions.latest.v1': PredictionLatest
  'alerts.v1': Alert
  'alerts.analytics.v1': AlertAnalytics
  'interventions.commands.v1': InterventionCommand
  'interventions.receipts.v1': InterventionReceipt
  'interventions.results.v1': InterventionResult
  'tracking.metrics.v1': TrackingMetric
  'models.events.v1': ModelEvent
  'models.prediction.audit.v1': PredictionAudit
  'alerts.system.v1': SystemAlert
}

/** The fields that may be left out when encoding, since the schema has a default for them. */
export interface Defaulted {
  'events.raw.v1': 'user_id' | 'session_id' | 'idempotency_key' | 'user_agent' | 'referrer'
  'events.validated.v1': 'user_id' | 'session_id' | 'idempotency_key' | 'user_agent' | 'referrer' | 'validated_by'
  'events.enriched.v1': 'user_id' | 'session_id' | 'user_agent' | 'referrer' | 'validated_by' | 'enrichments'
  'events.late.v1':
    | 'user_id'
    | 'session_id'
    | 'source_event_id'
    | 'window_start'
    | 'window_end'
    | 'late_by_ms'
    | 'payload'
  'events.dlq.v1': 'event_id' | 'original_key' | 'original_value' | 'original_headers' | 'original_schema' | 'attempts'
  'features.stream.v1': 'user_id' | 'session_id' | 'features' | 'source_event_id' | 'payload'
  'features.latest.v1': 'user_id' | 'session_id' | 'features' | 'feature_version' | 'ttl_seconds'
  'features.entity.v1': 'user_id' | 'session_id' | 'features' | 'attributes'
  'signals.scores.v1': 'user_id' | 'session_id'
  'predictions.v1': 'user_id' | 'session_id' | 'score_breakdown' | 'features_ref'
  'predictions.latest.v1': 'user_id' | 'session_id' | 'score_breakdown' | 'features_ref'
  'alerts.v1':
    | 'user_id'
    | 'session_id'
    | 'score'
    | 'threshold'
    | 'source_event_id'
    | 'window_start'
    | 'window_end'
    | 'received_at'
  'alerts.analytics.v1':
    | 'user_id'
    | 'session_id'
    | 'alerts'
    | 'by_rule'
    | 'by_severity'
    | 'events'
    | 'scores'
    | 'score_sum'
    | 'score_max'
  'interventions.commands.v1': 'user_id' | 'session_id' | 'source_event_id'
  'interventions.receipts.v1': 'user_id' | 'session_id' | 'error_reason' | 'delivered_at' | 'attempts'
  'interventions.results.v1': 'user_id' | 'session_id' | 'error_reason' | 'delivered_at' | 'attempts'
  'tracking.metrics.v1': 'labels'
  'models.events.v1': 'metadata'
  'models.prediction.audit.v1': 'user_id' | 'session_id' | 'model_id'
  'alerts.system.v1': never
}
