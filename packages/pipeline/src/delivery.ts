import type { Catalogue, InterventionCommand, InterventionReceipt } from '@weft/schema'
import { bytes, HEADERS, type Received, type Retry, type Running, type Transport, WeftError } from '@weft/transport'
import { carried, letterOf } from './letter.ts'
import { deadLetters } from './metrics.ts'

/** Does what a command asks for. Throwing tries again, unless it is a WeftError that is not retryable. */
export type Deliver = (
  command: InterventionCommand,
  context: { readonly attempt: number; readonly signal: AbortSignal },
) => Promise<void>

export interface DeliveryOptions {
  readonly transport: Transport
  readonly catalogue: Catalogue
  readonly deliver: Deliver
  readonly retry?: Retry
  /** Commands under way at once. */
  readonly maxUnacked?: number
}

/**
 * Delivers interventions.commands.v1, each entity's in order, and reports to interventions.receipts.v1. A command whose
 * last attempt fails is reported as failed and goes to events.dlq.v1. Delivery is at least once: whoever receives must
 * know a command again by its id.
 */
export function startDelivery({
  transport,
  catalogue,
  deliver,
  retry = {},
  maxUnacked = 64,
}: DeliveryOptions): Promise<Running> {
  const { maxAttempts = 5 } = retry
  const commands = catalogue.codec('interventions.commands.v1')
  const letters = catalogue.codec('events.dlq.v1')
  const receipts = catalogue.codec('interventions.receipts.v1')

  const report = async (
    command: InterventionCommand,
    from: Received,
    outcome: Partial<InterventionReceipt>,
    attempts: number,
  ) => {
    const { cmd_id: command_id, store_id, user_id, session_id } = command
    const reported_at = Date.now()
    const whose = { command_id, store_id, user_id, session_id }
    const receipt = {
      ...whose,
      status: 'success' as const,
      error_reason: null,
      delivered_at: null,
      ...outcome,
      attempts,
      reported_at,
    }
    const message = receipts.message(receipt, { key: bytes(command_id), time: reported_at, headers: carried(from) })
    await transport.append({ name: 'interventions.receipts.v1' }, [message])
  }

  const handle = async (message: Received, { attempt, signal }: { attempt: number; signal: AbortSignal }) => {
    if (message.headers?.some(([name]) => name === HEADERS.tick)) return
    const command = commands.decode(message)
    try {
      await deliver(command, { attempt, signal })
    } catch (error) {
      const retryable = !(error instanceof WeftError) || error.retryable
      if (signal.aborted || (retryable && attempt < maxAttempts)) throw error
      const reason = error instanceof Error ? error.message : String(error)
      const failure = { code: 'UNDELIVERED', reason, consumer: 'delivery', attempts: attempt, at: message.time }
      const { value, key, time, headers } = letterOf(message, failure, command)
      await transport.append({ name: 'events.dlq.v1' }, [letters.message(value, { key: bytes(key), time, headers })])
      deadLetters.inc({ topic: message.topic.name, code: failure.code })
      return report(command, message, { status: 'failed', error_reason: reason }, attempt)
    }
    await report(command, message, { delivered_at: Date.now() }, attempt)
  }

  // One more than our own, so that it is us who give up.
  const options = { group: 'weft.delivery', maxUnacked, retry: { ...retry, maxAttempts: maxAttempts + 1 } }
  return transport.subscribe({ name: 'interventions.commands.v1' }, options, handle)
}

/** Writes a line a command, without its payload. */
export const toLog =
  (log: { info(details: object, message: string): void }): Deliver =>
  async ({ cmd_id, store_id, type }) =>
    log.info({ command: cmd_id, tenant: store_id, type }, 'intervention delivered')

/**
 * POSTs the command as JSON, its id as Idempotency-Key. 2xx is delivered; 408, 425, 429 and 5xx, a refused connection and
 * silence are tried again; any other answer is final.
 */
export const toWebhook =
  (
    url: string | URL,
    { headers = {}, timeoutMs = 10_000 }: { headers?: Record<string, string>; timeoutMs?: number } = {},
  ): Deliver =>
  async (command, { signal }) => {
    const response = await fetch(url, {
      method: 'POST',
      headers: { 'content-type': 'application/json', 'idempotency-key': command.cmd_id, ...headers },
      body: JSON.stringify({ ...command, payload: JSON.parse(command.payload) }),
      signal: AbortSignal.any([signal, AbortSignal.timeout(timeoutMs)]),
      redirect: 'error',
    }).catch(cause => {
      throw new WeftError('UNAVAILABLE', `the webhook did not answer: ${(cause as Error).message}`, { cause })
    })
    await response.body?.cancel()
    if (response.ok) return
    const again = [408, 425, 429].includes(response.status) || response.status >= 500
    throw new WeftError(again ? 'UNAVAILABLE' : 'DENIED', `the webhook answered ${response.status}`, {
      retryable: again,
    })
  }
