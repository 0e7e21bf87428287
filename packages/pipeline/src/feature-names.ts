/**
 * What the model sees of a session, in its order: pages viewed and seconds on them per kind of page (exact
 * milliseconds, as seconds), closeness to a special day (0 to 1), month (1 to 12) and weekend (0 or 1) of the
 * session's local date, returning visitor (0 or 1), traffic source (the shop's own number).
 * model/train.py has the same list; `loadScorer` refuses a model whose list differs.
 */
export const FEATURE_NAMES = [
  'administrative_pages',
  'administrative_seconds',
  'informational_pages',
  'informational_seconds',
  'product_pages',
  'product_seconds',
  'special_day',
  'month',
  'weekend',
  'returning',
  'traffic_source',
] as const

export type FeatureName = (typeof FEATURE_NAMES)[number]
