import { execFileSync } from 'node:child_process'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { conformance } from '../src/conformance/index.ts'
import { openEmbedded } from '../src/embedded/embedded.ts'

/** Every write of this process fails (EFBIG) under a file size limit of 0: the disk is full, for real. */
const limitFiles = async (size: string) => {
  execFileSync('prlimit', ['--pid', String(process.pid), `--fsize=${size}`])
}

conformance('embedded', {
  guarantees: {
    durable: true,
    exactlyOnce: true,
    appendOnce: true,
    keyShared: true,
    compaction: true,
    tenants: 'convention',
    maxMessageBytes: 8_388_608,
  },
  async start() {
    const directory = await mkdtemp(join(tmpdir(), 'weft-conformance-'))
    const sessionMs = 1500
    const url = `embedded:${directory}?sessionMs=${sessionMs}`
    return {
      url,
      sessionMs,
      schemas: [
        { subject: 'orders', version: 1 },
        { subject: 'orders', version: 2 },
      ],
      open: options => openEmbedded(url, options),
      failStorage: () => limitFiles('0:unlimited'),
      healStorage: () => limitFiles('unlimited:unlimited'),
      async expire() {
        await using client = await openEmbedded(url)
        await client.maintain()
      },
      [Symbol.asyncDispose]: () => rm(directory, { recursive: true }),
    }
  },
})
