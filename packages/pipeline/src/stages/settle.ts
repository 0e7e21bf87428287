import { type Stage, stage } from '../stage.ts'

const WEEK = 7 * 86_400_000

/**
 * interventions.receipts.v1 → interventions.results.v1. Delivery reports at least once; the first report of a command
 * becomes its result, the others count as duplicates.
 */
export const settle = ({ rememberMs = WEEK } = {}): Stage =>
  stage<'interventions.receipts.v1', 'interventions.results.v1'>({
    name: 'settle',
    reads: ['interventions.receipts.v1'],
    writes: ['interventions.results.v1'],
    clock: receipt => receipt.reported_at,

    process(record, context) {
      const { reported_at: _, ...result } = record.value
      const settled = context.state<true>('settled')
      if (settled.get(result.command_id)) return context.count('duplicate')
      settled.set(result.command_id, true)
      context.schedule<true>().set(context.now + rememberMs, result.command_id, true)
      context.emit('interventions.results.v1', result, record)
    },

    due({ id }, context) {
      context.state<true>('settled').set(id, undefined)
    },
  })
