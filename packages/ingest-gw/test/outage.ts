import { setTimeout as delay } from 'node:timers/promises'
import { type Transport, WeftError } from '@weft/transport'
import { withAppend } from './fixture.ts'

/**
 * well: appends. refused: rejects without appending. unanswered: appends, and rejects all the same. silent: answers
 * nothing before the outage is over, and has appended then.
 */
export type Outage = 'well' | 'refused' | 'unanswered' | 'silent'

/** A transport whose appends of events meet the outage that `now` tells; those to a partition, such as ticks, pass. */
export const withOutages = (transport: Transport, now: () => Outage): Transport =>
  withAppend(transport, async (topic, messages, options) => {
    if (options?.partition !== undefined) return transport.append(topic, messages, options)
    while (now() === 'silent') await delay(5)
    if (now() === 'refused') throw new WeftError('UNAVAILABLE', 'the log is away')
    const positions = await transport.append(topic, messages, options)
    if (now() === 'unanswered') throw new WeftError('UNAVAILABLE', 'the log is away')
    return positions
  })
