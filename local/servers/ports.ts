import { randomInt } from 'node:crypto'
import { readFileSync, writeFileSync } from 'node:fs'
import { connect, createServer } from 'node:net'
import path from 'node:path'

/** Whether somebody listens on a port of this machine. */
export async function listens(port: number): Promise<boolean> {
  const { promise, resolve } = Promise.withResolvers<boolean>()
  const socket = connect(port, '127.0.0.1')
  socket.once('connect', () => resolve(true)).once('error', () => resolve(false))
  return promise.finally(() => socket.destroy())
}

/**
 * Ports that are free now. They lie below those that systems give to outgoing connections, so that none of these takes
 * one before its server does.
 */
export async function freePorts(count: number): Promise<number[]> {
  const ports = new Set<number>()
  while (ports.size < count) {
    const port = randomInt(10_240, 32_768)
    const server = createServer()
    const { promise, resolve } = Promise.withResolvers<boolean>()
    server.once('error', () => resolve(false)).listen(port, '127.0.0.1', () => resolve(true))
    if (await promise) {
      ports.add(port)
      await new Promise(closed => server.close(closed))
    }
  }
  return [...ports]
}

/**
 * The ports of a server that is not running: those wanted, else those it had before, else any. Noted in its folder.
 * Throws if one that is wanted is in use.
 */
export async function choosePorts<Name extends string>(
  folder: string,
  names: readonly Name[],
  wanted: Partial<Record<Name, number | undefined>> = {},
): Promise<Record<Name, number>> {
  const before: Partial<Record<Name, number>> = notedPorts(folder) ?? {}
  const fresh = await freePorts(names.length)
  const ports = await Promise.all(
    names.map(async (name, i): Promise<[Name, number]> => {
      const [asked, had] = [wanted[name], before[name]]
      if (asked !== undefined && (await listens(asked)))
        throw new Error(`port ${asked} is in use: stop what listens there, or take another with --port`)
      return [name, asked ?? (had !== undefined && !(await listens(had)) ? had : (fresh[i] as number))]
    }),
  )
  const chosen = Object.fromEntries(ports) as Record<Name, number>
  writeFileSync(noteOf(folder), JSON.stringify(chosen))
  return chosen
}

const noteOf = (folder: string) => path.join(folder, 'ports.json')

/** The ports that a folder's server has, or had when it ran. */
export function notedPorts<Name extends string>(folder: string): Record<Name, number> | undefined {
  try {
    return JSON.parse(readFileSync(noteOf(folder), 'utf8'))
  } catch {
    return undefined
  }
}
