import { mkdir, readdir } from 'node:fs/promises'
import { WeftError } from '../transport.ts'
import type { Store } from './store.ts'

/** LMDB copies a snapshot page by page while others read and write; free pages are left out. */
export async function backupTo(store: Store, directory: string): Promise<void> {
  await mkdir(directory, { recursive: true })
  if ((await readdir(directory)).length > 0)
    throw new WeftError('INVALID', `the backup's directory "${directory}" is not empty`)
  try {
    await store.root.backup(directory, true)
  } catch (cause) {
    throw new WeftError('UNAVAILABLE', `the backup to "${directory}" failed: ${(cause as Error).message}`, { cause })
  }
}
