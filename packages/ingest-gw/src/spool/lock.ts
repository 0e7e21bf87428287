import { readFile, writeFile } from 'node:fs/promises'
import { hostname } from 'node:os'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { WeftError } from '@weft/transport'

/** Another process has the directory. */
export class SpoolInUse extends WeftError {
  constructor(directory: string, holder: string, cause: unknown) {
    const message = `the spool in ${directory} is in use by ${holder}: each gateway needs its own, and a repair has it alone`
    super('UNAVAILABLE', message, { retryable: false, cause })
  }
}

/**
 * Takes a directory for this process; SpoolInUse while another has it. SQLite's lock on an empty
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
    throw new SpoolInUse(directory, who, cause)
  }
  await writeFile(holder, `process ${process.pid} on ${hostname()}`)
  return { [Symbol.dispose]: () => database.close() }
}
