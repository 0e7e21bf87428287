import { HEADERS, header } from './message.ts'
import { type Header, type Message, type Received, type Topic, WeftError } from './transport.ts'

/** A dead letter may have this many bytes more than other messages: the largest one must find its place too. */
export const DEAD_LETTER_BYTES = 16 * 1024
const ERROR_LENGTH = 2000

/** Where a topic's dead letters go unless told otherwise. */
export const deadLettersOf = (topic: Topic): Topic => ({ ...topic, name: `${topic.name}.dlq` })

/** The message as it was, with cause, attempts and origin (`cluster/topic/partition/position`) in its headers. */
export function deadLetter(
  message: Received,
  failure: { cluster: string; group: string; attempts: number; error: unknown },
): Message {
  const { error } = failure
  const own: Header[] = [
    header(
      HEADERS.origin,
      `${failure.cluster}/${message.topic.name}/${message.position.partition}/${message.position.at}`,
    ),
    header(HEADERS.error, (error instanceof Error ? error.message : String(error)).slice(0, ERROR_LENGTH)),
    header(HEADERS.errorCode, codeOf(error)),
    header(HEADERS.attempts, String(failure.attempts)),
    header(HEADERS.failedAt, String(Date.now())),
    header(HEADERS.group, failure.group),
  ]
  return {
    ...(message.key === undefined ? {} : { key: message.key }),
    value: message.value,
    time: message.time,
    headers: [...(message.headers ?? []), ...own],
    ...(message.schema === undefined ? {} : { schema: message.schema }),
  }
}

/** Whether trying again may help: any error but a WeftError that says otherwise. */
export const isRetryable = (error: unknown): boolean => !(error instanceof WeftError) || error.retryable

function codeOf(error: unknown): string {
  if (error instanceof WeftError) return error.code
  const code = (error as { code?: unknown } | undefined)?.code
  return typeof code === 'string' ? code : 'ERROR'
}
