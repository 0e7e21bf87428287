import { constants } from 'node:fs'
import { access, mkdir, readdir, rm, statfs, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { setInterval } from 'node:timers/promises'
import { EXIT, Exit } from './exit.ts'

/** All that Weft puts beside a store. */
const OURS = new Set(['data.mdb', 'lock.mdb', 'gate', 'sessions', 'dev', 'ingest-gw', 'alerts-api', 'pipeline'])

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
  const users = (await readdir(path.join(folder, 'dev')).catch(() => [] as string[])).flatMap(running)
  if (users.length)
    throw new Exit(EXIT.failed, `the store in ${folder} is in use by process ${users.join(', ')}: stop it first`)
  await rm(folder, { recursive: true })
  return true
}

/** The process that a file of `occupy` stands for, if it still runs. */
function running(name: string): number[] {
  const pid = Number(/^process-(\d+)$/.exec(name)?.[1])
  if (!pid || pid === process.pid) return []
  try {
    process.kill(pid, 0)
    return [pid]
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM' ? [pid] : []
  }
}

/** Says that this process uses the store, so that nobody deletes it meanwhile. */
export async function occupy(folder: string | undefined): Promise<AsyncDisposable> {
  if (folder === undefined) return { async [Symbol.asyncDispose]() {} }
  const file = path.join(folder, 'dev', `process-${process.pid}`)
  await mkdir(path.dirname(file), { recursive: true })
  await writeFile(file, '')
  return { [Symbol.asyncDispose]: () => rm(file, { force: true }) }
}

const LOOK_MS = 500

/** LMDB cannot be trusted on a disk that fills up under it: Weft ends while there is still room to end cleanly. */
async function refuseFullDisk(folder: string, leastFree: number): Promise<void> {
  const { bavail, bsize } = await statfs(folder)
  if (bavail * bsize >= leastFree) return
  const left = `less than ${Math.round(leastFree / 2 ** 20).toLocaleString('en')} MiB are left`
  throw new Exit(
    EXIT.failed,
    `the disk of ${folder} is full (${left}): free some space and start again, what was acknowledged is safe`,
  )
}

/** Rejects when the folder's disk is as good as full; looks until the signal aborts. */
export async function diskFull(folder: string | undefined, leastFree: number, signal: AbortSignal): Promise<never> {
  if (folder !== undefined) {
    try {
      for await (const _ of setInterval(LOOK_MS, undefined, { signal, ref: false }))
        await refuseFullDisk(folder, leastFree)
    } catch (error) {
      if (!signal.aborted) throw error
    }
  }
  return new Promise<never>(() => {})
}

/** Makes the folder if it is missing; one sentence if nothing can be written there. */
export async function writableFolder(folder: string, leastFree: number): Promise<void> {
  try {
    await mkdir(folder, { recursive: true })
    await access(folder, constants.W_OK | constants.X_OK)
    await refuseFullDisk(folder, leastFree)
  } catch (cause) {
    if (cause instanceof Exit) throw cause
    const { code } = cause as NodeJS.ErrnoException
    const why =
      code === 'EEXIST' || code === 'ENOTDIR'
        ? 'is not a directory'
        : // What a recursive mkdir answers on a read-only file system.
          code === 'ENOENT' || code === 'EROFS'
          ? 'cannot be made, its file system may be read-only'
          : `cannot be written (${code}): check its owner and rights`
    throw new Exit(EXIT.failed, `the store's folder ${folder} ${why}; --log names another`, { cause })
  }
}
