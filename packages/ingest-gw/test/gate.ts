import type { Message, Transport } from '@weft/transport'
import { withAppend } from './fixture.ts'

/** A transport whose appends wait until they are let go; what arrived is kept, an append each. */
export function gate() {
  let open = Promise.withResolvers<void>()
  let arrived = Promise.withResolvers<void>()
  const appends: (readonly Message[])[] = []
  open.resolve()
  return {
    appends,
    close() {
      open = Promise.withResolvers<void>()
      arrived = Promise.withResolvers<void>()
    },
    open: () => open.resolve(),
    /** Those that wait reject. */
    fail: (error: unknown) => open.reject(error),
    /** Resolves with the next append. */
    arrived: () => arrived.promise,
    wrap: (transport: Transport): Transport =>
      withAppend(transport, async (topic, messages, options) => {
        if (options?.partition === undefined) appends.push(messages)
        arrived.resolve()
        await open.promise
        return transport.append(topic, messages, options)
      }),
  }
}
