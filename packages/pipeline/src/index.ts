export {
  discardDeadLetters,
  type Edit,
  type FiledLetter,
  type LetterSelection,
  type LetterState,
  listDeadLetters,
  retryDeadLetters,
  showDeadLetter,
} from './dead-letters.ts'
export { type Deliver, type DeliveryOptions, startDelivery, toLog, toWebhook } from './delivery.ts'
export { type Driven, drive } from './driver.ts'
export { FEATURE_NAMES, type FeatureName } from './feature-names.ts'
export { idOf } from './identity.ts'
export {
  DEFAULT_TASKS,
  type Pipeline,
  type PipelineOptions,
  type StagesOptions,
  standardStages,
  startPipeline,
  tasksOf,
} from './pipeline.ts'
export {
  type CountRule,
  durationOf,
  parseRules,
  type Rule,
  type Severity,
  type SilenceRule,
  type ThresholdRule,
} from './rules.ts'
export type { Schedule } from './schedule.ts'
export { defaultModel, loadScorer, type Scorer } from './scorer.ts'
export {
  type Context,
  type Due,
  type Lineage,
  type Stage,
  type StageRecord,
  stage,
  type Tick,
  type TopicName,
} from './stage.ts'
export { type AlertOptions, alert } from './stages/alert.ts'
export { enrich } from './stages/enrich.ts'
export { features } from './stages/features.ts'
export { type Intervention, intervene } from './stages/intervene.ts'
export { score } from './stages/score.ts'
export { settle } from './stages/settle.ts'
export { validate } from './stages/validate.ts'
export type { Keyed } from './state.ts'
export { groupOf, inputsOf, runTask, type Task, type TaskOptions } from './task.ts'
export { startTicker, type TickerOptions } from './ticker.ts'
export { type Assign, type Closed, hopping, SessionWindows, type Span, tumbling, Windowed } from './windows.ts'
