import { execFileSync, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { appendFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'
import { makeDirectory, pageView, send } from './fixture.ts'

test('a disk that takes nothing is answered with 503, and when it does again nothing needs to be started anew', {
  timeout: 60_000,
}, async context => {
  if (spawnSync('prlimit', ['--version']).status !== 0) {
    const reason = 'there is no prlimit here (util-linux): only with it can a disk be made to take nothing'
    if (process.env.CI === 'true') expect.fail(reason)
    if (process.env.WEFT_NOT_RUN) appendFileSync(process.env.WEFT_NOT_RUN, `gateway on a full disk: ${reason}\n`)
    return context.skip(reason)
  }
  await using directory = await makeDirectory()
  const script = fileURLToPath(new URL('gateway-process.ts', import.meta.url))
  const child = spawn(process.execPath, [script, String(directory), 'gateway'], { stdio: ['ignore', 'pipe', 'ignore'] })
  const ended = once(child, 'exit')
  try {
    const [line] = await once(child.stdout, 'data')
    const url = `${String(line).trim()}/v1/events`
    const limit = (size: string) => execFileSync('prlimit', ['--pid', String(child.pid), `--fsize=${size}:unlimited`])
    const post = async (id: string) => (await send(url, pageView({ event_id: id, session_id: id }))).status
    expect(await post('before')).toBe(202)
    for (let round = 0; round < 3; round++) {
      limit('4096')
      for (let n = 0; n < 5; n++) expect(await post(`refused-${round}-${n}`)).toBe(503)
      const keyed = await send(url, pageView(), { 'idempotency-key': `key-${round}` })
      expect(keyed).toMatchObject({ status: 503, body: { error: { code: 'log_unavailable', retryable: true } } })
      // The index of event ids is written every now and then: it has to fail, too.
      await expect.poll(async () => (await fetch(new URL('/readyz', url))).status, { timeout: 20_000 }).toBe(503)
      limit('unlimited')
      await expect.poll(() => post(`after-${round}`), { timeout: 20_000 }).toBeLessThan(203)
      await expect.poll(async () => (await fetch(new URL('/readyz', url))).status, { timeout: 20_000 }).toBe(200)
      expect(await post('before')).toBe(200)
    }
    expect(child.exitCode).toBeNull()
  } finally {
    child.kill('SIGKILL')
    await ended
  }
})
