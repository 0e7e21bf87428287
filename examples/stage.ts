/**
 * A stage of one's own: offers help to who looks at three products within ten minutes and puts none into the cart. The
 * runtime makes it exactly-once: state, schedule and output commit together with what was consumed.
 */
import { idOf, type Stage, stage } from '@weft/pipeline'

const PATIENCE = 10 * 60_000

export const offerHelp: Stage = stage<'events.enriched.v1', 'interventions.commands.v1'>({
  name: 'offer-help',
  reads: ['events.enriched.v1'],
  writes: ['interventions.commands.v1'],
  clock: event => event.received_at,

  process(record, context) {
    const { event_id, store_id, user_id, session_id, type, received_at } = record.value
    const looked = context.state<number>('looked')
    if (type === 'add_to_cart') return looked.set(record.key, 0)
    if (type !== 'page_view' || JSON.parse(record.value.payload).page !== 'product') return
    const count = (looked.get(record.key) ?? 0) + 1
    looked.set(record.key, count)
    context.schedule<true>().set(context.now + PATIENCE, record.key, true)
    if (count !== 3) return
    const command = {
      cmd_id: idOf('offer-help', event_id),
      store_id,
      user_id,
      session_id,
      type: 'modal',
      payload: JSON.stringify({ text: 'Can we help you choose?' }),
      issued_at: received_at,
      origin: 'offer-help',
      source_event_id: event_id,
    }
    context.emit('interventions.commands.v1', command, record)
  },

  /** Ten minutes after a look the count starts anew. */
  due: ({ id }, context) => context.state<number>('looked').set(id, undefined),
})
