import { closeSync, fstatSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { bytes, openEmbedded, text } from '../src/index.ts'

/**
 * A process beside the test's own, over the same store: `node embedded-program.ts URL WHAT`. It answers lines with lines.
 * WHAT: `append` numbers until killed; `exit` in the midst of them; `member` of group "g"; `calls` does what it is told;
 * `open` it and close it again and again.
 */
const [url, what] = process.argv.slice(2) as [string, string]
const say = (...words: unknown[]) => void process.stdout.write(`${JSON.stringify(words)}\n`)
const topic = { name: 'events' }
if (what === 'open')
  for (let i = 1; ; i++) {
    await using _ = await openEmbedded(url)
    say('opened', i)
  }
const transport = await openEmbedded(url)
await transport.admin.ensure([{ topic, partitions: 4 }])
const append = (value: string) => transport.append(topic, [{ key: bytes(value), value: bytes(value), time: 0 }])
process.on('SIGXFSZ', () => {})

const commands: Record<string, (argument: string) => unknown> = {
  append: async value => {
    await append(value)
  },
  lag: async () => (await transport.admin.groups()).reduce((sum, { lag }) => sum + lag, 0),
  /** The descriptor that LMDB commits by is closed under its feet. */
  breakDisk: () => {
    const { ino } = statSync(join(decodeURIComponent(new URL(url).pathname), 'data.mdb'))
    const open = Array.from({ length: 200 }, (_, fd) => fd).filter(fd => inodeOf(fd) === ino)
    closeSync(open.at(-1) as number)
    return open.length
  },
}

/** Keeps the event loop and the store busy, then exits. */
async function flood(): Promise<void> {
  for (let i = 0; ; i++) {
    await append(`${i}`)
    for (const until = performance.now() + 2; performance.now() < until; );
    if (i === 10) process.exit(3)
  }
}

function inodeOf(fd: number): number | undefined {
  try {
    return fstatSync(fd).ino
  } catch {
    return undefined
  }
}

if (what === 'exit') for (let i = 0; i < 8; i++) void flood()
if (what === 'append') for (let i = 0; ; i++) await append(`${process.pid}.${i}`).then(() => say('appended', i))
if (what === 'member') {
  await transport.subscribe(topic, { group: 'g' }, ({ value }) => say('handled', text(value as Uint8Array)))
  say('joined')
}
if (what === 'calls') {
  say('ready')
  for await (const line of createInterface({ input: process.stdin })) {
    const [name, argument] = line.split(' ') as [string, string]
    try {
      say(name, await commands[name]?.(argument))
    } catch (error) {
      say('failed', (error as { code: string }).code, (error as Error).message)
    }
  }
}
