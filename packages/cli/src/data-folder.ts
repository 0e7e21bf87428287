import { constants } from 'node:fs'
import { access, mkdir, readdir, rm } from 'node:fs/promises'
import { EXIT, Exit } from './exit.ts'

/** All that Weft puts beside a store. */
const OURS = new Set(['data.mdb', 'lock.mdb', 'sessions', 'dev', 'ingest-gw', 'alerts-api', 'pipeline'])

/**
 * Deletes a store's folder: only one that holds a store and nothing that is not ours. A folder that is missing or
 * empty is fine as it is.
 */
export async function deleteStore(folder: string): Promise<boolean> {
  const names = await readdir(folder).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return [] as string[]
    throw error
  })
  if (!names.length) return false
  const foreign = names.filter(name => !OURS.has(name))
  if (foreign.length || !names.includes('data.mdb')) {
    const why = foreign.length ? `it holds ${foreign.slice(0, 3).join(', ')}` : 'it holds no store'
    throw new Exit(EXIT.usage, `${folder} is not recognisably a Weft store (${why}): nothing was deleted`)
  }
  await rm(folder, { recursive: true })
  return true
}

/** Makes the folder if it is missing; one sentence if nothing can be written there. */
export async function writableFolder(folder: string): Promise<void> {
  try {
    await mkdir(folder, { recursive: true })
    await access(folder, constants.W_OK | constants.X_OK)
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException
    const why =
      code === 'EEXIST' || code === 'ENOTDIR'
        ? 'is not a directory'
        : code === 'ENOSPC'
          ? 'cannot be made: the disk is full'
          : `cannot be written (${code}): check its owner and rights`
    throw new Exit(EXIT.failed, `the store's folder ${folder} ${why}; --log names another`, { cause })
  }
}
