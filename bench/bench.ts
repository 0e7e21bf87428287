/** `npm run bench -- NAME`: runs one benchmark of this folder. */
import { readdir } from 'node:fs/promises'

const files = await readdir(new URL('.', import.meta.url))
const parts = new Set(['bench', 'side-by-side', 'http-load', 'fanout-clients', 'ingest-load', 'kafka-broker'])
const names = files.flatMap(file => /^(.*)\.ts$/.exec(file)?.[1] ?? []).filter(name => !parts.has(name))
const [name] = process.argv.splice(2, 1)
if (!name || !names.includes(name)) {
  console.error(
    `weft: expected one of ${names.join(', ')}, not "${name ?? ''}"; for example: npm run bench -- fanout --ws`,
  )
  process.exit(2)
}
await import(new URL(`${name}.ts`, import.meta.url).href)
