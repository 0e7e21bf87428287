import { WeftError } from '@weft/transport'
import { idOf } from '../identity.ts'
import type { Scorer } from '../scorer.ts'
import { type Stage, stage } from '../stage.ts'

/** Decimals of a score that are kept: what remains is the processor's, not the model's. */
const DECIMALS = 1e6

/**
 * features.stream.v1 → signals.scores.v1, predictions.v1, predictions.latest.v1 and models.prediction.audit.v1, a batch
 * in one call of the model.
 */
export const score = (model: Scorer): Stage =>
  stage<
    'features.stream.v1',
    'signals.scores.v1' | 'predictions.v1' | 'predictions.latest.v1' | 'models.prediction.audit.v1'
  >({
    name: 'score',
    reads: ['features.stream.v1'],
    writes: ['signals.scores.v1', 'predictions.v1', 'predictions.latest.v1', 'models.prediction.audit.v1'],
    ticksTo: 'signals.scores.v1',

    async processAll(records, context) {
      const width = model.features.length
      const rows = new Float32Array(records.length * width)
      for (const [row, record] of records.entries()) {
        for (const [column, name] of model.features.entries()) {
          const value = record.value.features[name]
          if (value === undefined) throw new WeftError('INVALID', `the features lack ${name}, which ${model.id} needs`)
          rows[row * width + column] = value
        }
      }
      const scores = await model.score(rows, records.length)
      for (const [row, record] of records.entries()) {
        const { store_id, user_id, session_id, source_event_id, event_type, feature_id, features } = record.value
        const { sent_at, received_at, computed_at } = record.value
        const whose = { store_id, user_id, session_id }
        const rounded = Math.round((scores[row] as number) * DECIMALS) / DECIMALS
        const by = { model_id: model.id, model_version: model.version }
        const score = { ...by, score: rounded }
        const from = { score_breakdown: {}, features_ref: feature_id }
        const prediction_id = idOf('prediction', feature_id, model.id, model.version)
        context.emit(
          'signals.scores.v1',
          {
            score_id: idOf('score', feature_id, model.id, model.version),
            ...whose,
            source_event_id: source_event_id ?? feature_id,
            event_type,
            ...score,
            sent_at,
            received_at,
            scored_at: computed_at,
          },
          record,
        )
        context.emit('predictions.v1', { prediction_id, ...whose, ...score, ...from, computed_at }, record)
        context.emit(
          'predictions.latest.v1',
          { prediction_id, ...whose, ...score, ...from, updated_at: computed_at },
          record,
        )
        const used = Object.fromEntries(model.features.map(name => [name, features[name]]))
        context.emit(
          'models.prediction.audit.v1',
          {
            audit_id: idOf('audit', prediction_id),
            ...whose,
            ...by,
            features_used: JSON.stringify(used),
            prediction: JSON.stringify({ score: rounded }),
            requested_at: computed_at,
            responded_at: computed_at,
          },
          record,
        )
      }
    },
  })
