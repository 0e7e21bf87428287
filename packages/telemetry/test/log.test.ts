import { afterEach, expect, test, vi } from 'vitest'
import { logger } from '../src/index.ts'
import { pretty } from '../src/log.ts'

afterEach(() => vi.unstubAllEnvs())

function logged(level: string | undefined, write: (log: ReturnType<typeof logger>) => void): Record<string, unknown>[] {
  vi.stubEnv('LOG_LEVEL', level)
  const lines: string[] = []
  write(logger('pipeline', { write: line => void lines.push(line) }))
  return lines.map(line => JSON.parse(line))
}

test('a line names its service and what happened', () => {
  const [line] = logged(undefined, log => log.info({ topic: 'alerts.v1', count: 3 }, 'taken'))
  expect(line).toMatchObject({ service: 'pipeline', topic: 'alerts.v1', count: 3, msg: 'taken', level: 30 })
})

test('payloads and credentials never reach a log, also one level down and in errors', () => {
  const err = Object.assign(new Error('no'), { token: 'abc.def' })
  const lines = logged(undefined, log => {
    log.info({ payload: { card: '4111' }, event: { value: 'secret-value' }, headers: { authorization: 'Bearer x' } })
    log.error({ err }, 'failed')
  })
  expect(JSON.stringify(lines)).not.toMatch(/4111|secret-value|Bearer x|abc\.def/)
  expect(lines[1]).toMatchObject({ err: { message: 'no', type: 'Error' } })
})

test.for([
  ['debug', 2],
  ['error', 0],
  ['silent', 0],
  ['nonsense', 1],
  [undefined, 1],
] as const)('with LOG_LEVEL %s there are %i lines of debug and info', ([level, count]) => {
  const lines = logged(level, log => {
    log.debug('small')
    log.info('large')
  })
  expect(lines.length).toBe(count)
})

test('on a terminal a line is readable, with its details behind it', () => {
  const [line] = logged(undefined, log => log.warn({ group: 'weft.signal', lag: 12 }, 'behind'))
  // biome-ignore lint/suspicious/noControlCharactersInRegex: takes the colours away
  const shown = pretty(JSON.stringify(line)).replace(/\u001b\[\d+m/g, '')
  expect(shown).toMatch(/^\d\d:\d\d:\d\d warn {2}pipeline behind group=weft.signal lag=12\n$/)
})
