import { idOf } from '../identity.ts'
import { type Stage, stage } from '../stage.ts'

export interface Intervention {
  /** The alert rule that calls for it. */
  readonly rule: string
  /** Channel: email, push, modal or script. */
  readonly type: string
  /** How long an entity is left alone afterwards, by this type. */
  readonly cooldownMs: number
}

/** alerts.v1 → interventions.commands.v1: a raised alert becomes a command, unless its entity had one of the type lately. */
export const intervene = (interventions: readonly Intervention[]): Stage =>
  stage<'alerts.v1', 'interventions.commands.v1'>({
    name: 'intervene',
    reads: ['alerts.v1'],
    writes: ['interventions.commands.v1'],
    clock: alert => alert.raised_at,

    process(record, context) {
      const { store_id, user_id, session_id, entity, rule, severity, state, score, message } = record.value
      if (state !== 'raised') return
      for (const { type, cooldownMs } of interventions.filter(each => each.rule === rule)) {
        const cooling = context.state<true>('cooling')
        const id = `${type}|${entity}`
        if (cooling.get(id)) {
          context.count('cooling')
          continue
        }
        cooling.set(id, true)
        context.schedule<true>().set(context.now + cooldownMs, id, true)
        const { alert_id, source_event_id, raised_at } = record.value
        const payload = JSON.stringify({ rule, severity, score, message, alert_id })
        const whose = { store_id, user_id, session_id }
        const cmd_id = idOf('command', alert_id, type)
        const command = {
          cmd_id,
          ...whose,
          type,
          payload,
          issued_at: raised_at,
          origin: 'rule_engine',
          source_event_id,
        }
        context.emit('interventions.commands.v1', command, record)
      }
    },

    due({ id }, context) {
      context.state<true>('cooling').set(id, undefined)
    },
  })
