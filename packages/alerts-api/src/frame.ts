import type { Events } from '@weft/schema'
import { textFrame } from './websocket-frame.ts'

export type Alert = Events['alerts.v1']

const EVENT = '\nevent: alert\ndata: '
const CLOSE = Buffer.from('}')

/**
 * One alert of the log, encoded once for all that listen. `cursor` is the shared vector just after it, so it is true
 * only for those who follow the shared order; others get `sse(cursor)` and `webSocket(cursor)` with their own.
 */
export class Frame {
  readonly partition: number
  readonly at: string
  readonly cursor: string
  readonly appendedAt: number
  readonly raisedAt: number
  readonly tenant: string
  readonly severity: string
  readonly rule: string
  readonly entity: string
  readonly state: string
  readonly #head: number
  readonly #shared: Buffer
  #webSocket: Buffer | undefined

  constructor(alert: Alert, place: { partition: number; at: string; appendedAt: number; cursor: string }) {
    this.partition = place.partition
    this.at = place.at
    this.appendedAt = place.appendedAt
    this.cursor = place.cursor
    this.raisedAt = alert.raised_at
    this.tenant = alert.store_id
    this.severity = alert.severity
    this.rule = alert.rule
    this.entity = alert.entity
    this.state = alert.state
    this.#head = 4 + place.cursor.length
    this.#shared = Buffer.from(`id: ${place.cursor}${EVENT}${JSON.stringify(alert)}\n\n`)
  }

  /** Of what it holds, WebSocket form included. */
  get bytes(): number {
    return this.#shared.length + (this.#webSocket?.length ?? 0)
  }

  /** The alert as JSON: JSON.stringify leaves no CR or LF in it. */
  get json(): Buffer {
    return this.#shared.subarray(this.#head + EVENT.length, -2)
  }

  /** The server-sent event with the shared cursor, or with a client's own. */
  sse(cursor?: string): Buffer {
    if (cursor === undefined || cursor === this.cursor) return this.#shared
    return Buffer.concat([Buffer.from(`id: ${cursor}`), this.#shared.subarray(this.#head)])
  }

  /** `{"type":"alert","cursor":…,"alert":…}` as a whole WebSocket frame. */
  webSocket(cursor?: string): Buffer {
    if (cursor !== undefined && cursor !== this.cursor) return this.#frameOf(cursor)
    this.#webSocket ??= this.#frameOf(this.cursor)
    return this.#webSocket
  }

  #frameOf(cursor: string): Buffer {
    return textFrame(Buffer.concat([Buffer.from(`{"type":"alert","cursor":"${cursor}","alert":`), this.json, CLOSE]))
  }
}
