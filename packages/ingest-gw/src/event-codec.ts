import type { Catalogue } from '@weft/schema'
import { HEADERS, header, type Message } from '@weft/transport'

/** A tenant's id has no slash, so no two pairs share a key. */
export const idOf = (tenant: string, id: string): string => `${tenant}/${id}`

/** What the index has to know of the records of events.raw.v1. */
export function eventCodec(catalogue: Catalogue) {
  const codec = catalogue.codec('events.raw.v1')
  return {
    keyOf(record: Pick<Message, 'value' | 'schema'>): string {
      const { store_id, event_id } = codec.decode(record)
      return idOf(store_id, event_id)
    },
    /** A tick that tells no time: every reader passes it over. */
    mark: (now: number) => ({
      value: codec.encode({
        event_id: '',
        store_id: '',
        type: 'weft.tick',
        payload: '{}',
        sent_at: now,
        received_at: now,
      }),
      time: now,
      headers: [header(HEADERS.tick, 'mark')],
      schema: codec.schema,
    }),
  }
}
