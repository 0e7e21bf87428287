import { Writable } from 'node:stream'
import { styleText } from 'node:util'
import { type DestinationStream, destination, type Logger, pino, stdSerializers } from 'pino'

const LEVELS: Record<number, readonly [name: string, style: Parameters<typeof styleText>[0]]> = {
  10: ['trace', 'gray'],
  20: ['debug', 'gray'],
  30: ['info', 'green'],
  40: ['warn', 'yellow'],
  50: ['error', 'red'],
  60: ['fatal', 'red'],
}

/** What must never be in a log: bodies and credentials. */
const CENSORED = ['payload', 'body', 'value', 'authorization', 'cookie', 'token', 'secret', 'password']

/** One line for a person's eyes of one JSON line of pino's. */
export function pretty(line: string): string {
  const { level, time, service, msg = '', err, pid: _pid, hostname: _hostname, ...rest } = JSON.parse(line)
  const [name, style] = LEVELS[level] ?? [String(level), 'white']
  const details = Object.entries(rest).map(
    ([key, value]) => `${key}=${typeof value === 'object' ? JSON.stringify(value) : value}`,
  )
  if (err) details.push(level >= 50 && err.stack ? err.stack : (err.message ?? String(err)))
  const clock = new Date(time).toTimeString().slice(0, 8)
  const paint = (colour: typeof style, text: string) => styleText(colour, text, { stream: process.stderr })
  const head = `${paint('gray', clock)} ${paint(style, name.padEnd(5))} ${paint('cyan', service ?? '')} ${msg}`
  return `${details.length ? `${head} ${paint('gray', details.join(' '))}` : head}\n`
}

let shared: DestinationStream | undefined

/** Standard error, so that a command's output stays clean; lines of JSON unless a person is watching. */
function stderr(): DestinationStream {
  if (!process.stderr.isTTY) return destination({ fd: 2, sync: true })
  return new Writable({
    write(chunk, _encoding, done) {
      process.stderr.write(pretty(String(chunk)), () => done())
    },
  })
}

/**
 * The logger of one service: JSON lines on standard error, or one readable line each on a terminal. The level is
 * LOG_LEVEL (trace, debug, info, warn, error, fatal, silent), `info` by default. Log ids, counts and causes;
 * fields named like a body or a credential are censored.
 */
export function logger(service: string, to?: DestinationStream): Logger {
  shared ??= to ? undefined : stderr()
  const asked = process.env.LOG_LEVEL?.toLowerCase() ?? 'info'
  const level = asked === 'silent' || asked in pino.levels.values ? asked : 'info'
  return pino(
    {
      base: { service, pid: process.pid },
      level,
      serializers: { err: stdSerializers.err },
      redact: { paths: CENSORED.flatMap(name => [name, `*.${name}`, `err.${name}`]), censor: '(left out)' },
    },
    to ?? shared,
  )
}
