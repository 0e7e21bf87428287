import { readFile, writeFile } from 'node:fs/promises'
import { hostname } from 'node:os'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { WeftError } from '@weft/transport'

/**
 * Takes a directory for this process; UNAVAILABLE, not retryable, while another has it. SQLite's lock on an empty
 * database is the operating system's own: it ends with the process however that dies, and holds between containers
 * that share the directory, where process ids mean nothing.
 */
export async function lockDirectory(directory: string): Promise<Disposable> {
  const database = new DatabaseSync(join(directory, 'lock'))
  const holder = join(directory, 'holder')
  try {
    database.exec('BEGIN EXCLUSIVE')
  } catch (cause) {
    database.close()
    const who = await readFile(holder, 'utf8').catch(() => 'another process')
    throw new WeftError('UNAVAILABLE', `the spool in ${directory} is in use by ${who}: each gateway needs its own`, {
      retryable: false,
      cause,
    })
  }
  await writeFile(holder, `process ${process.pid} on ${hostname()}`)
  return { [Symbol.dispose]: () => database.close() }
}
