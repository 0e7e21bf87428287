import { AuthError } from '@weft/auth'
import { WeftError } from '@weft/transport'

/** What a script can branch on; `weft --help` and docs tell the same. */
export const EXIT = {
  done: 0,
  failed: 1,
  /** A wrong word on the command line, or a wrong configuration. */
  usage: 2,
  /** A check ran and found faults. */
  faults: 3,
  /** No such topic, record or file. */
  missing: 4,
  interrupted: 130,
} as const

/** Ends the command with a sentence and an exit code. */
export class Exit extends Error {
  override readonly name = 'Exit'
  readonly code: number
  constructor(code: number, message: string, options: ErrorOptions = {}) {
    super(message, options)
    this.code = code
  }
}

type SystemError = NodeJS.ErrnoException & { readonly port?: number; readonly address?: string }

const SYSTEM: Record<string, (error: SystemError) => string> = {
  EADDRINUSE: ({ port, address }) =>
    `port ${port} of ${address ?? 'this machine'} is in use: stop what uses it, or choose another with --port`,
  EADDRNOTAVAIL: ({ address }) => `${address} is not an address of this machine`,
  EACCES: ({ port, path }) =>
    port === undefined
      ? `${path ?? 'a file'} cannot be read or written: check its owner and rights`
      : `port ${port} needs rights this process does not have: choose one from 1024 on`,
  EPERM: ({ path }) => `${path ?? 'a file'} cannot be read or written: check its owner and rights`,
  EROFS: ({ path }) => `${path ?? 'the directory'} is on a read-only file system: choose another with --log`,
  ENOSPC: () => 'the disk is full: free some space and start again, nothing that was acknowledged is lost',
  EDQUOT: () => 'the disk quota is used up: free some space and start again, nothing that was acknowledged is lost',
  EMFILE: () => 'too many files are open: raise the limit (ulimit -n) and start again',
  ENOENT: ({ path }) => `${path ?? 'a file'} does not exist`,
  ENOTDIR: ({ path }) => `${path ?? 'the path'} is not a directory`,
  EEXIST: ({ path }) => `${path ?? 'the path'} exists and is not a directory`,
  ECONNREFUSED: ({ address, port }) => `nobody answers at ${address ?? 'the address'}:${port ?? ''}`,
}

/** The errors that this one was made of, the outermost first. */
function* chain(error: unknown): Generator<unknown> {
  for (let at = error; at !== undefined && at !== null; at = (at as Error).cause) yield at
}

/** One sentence for a person, and the exit code, of whatever was thrown. */
export function explain(error: unknown): { sentence: string; code: number } {
  if (error instanceof Exit) return { sentence: error.message, code: error.code }
  for (const each of chain(error)) {
    const { code, message } = each as SystemError
    // A log or a registry that nobody answers for says which one it is.
    const named = code === 'ECONNREFUSED' && error instanceof WeftError
    const known = code === undefined || named ? undefined : SYSTEM[code]
    if (known) return { sentence: known(each as SystemError), code: code === 'ENOENT' ? EXIT.missing : EXIT.failed }
    // LMDB hands on the system's words with a number only.
    if (/no space left on device|MDB_MAP_FULL/i.test(message ?? ''))
      return { sentence: SYSTEM.ENOSPC?.(each as SystemError) ?? '', code: EXIT.failed }
    if (each instanceof Error && /permission denied/i.test(message) && error instanceof WeftError)
      return { sentence: `${error.message}: check its owner and rights`, code: EXIT.failed }
  }
  if (error instanceof WeftError) {
    const code = error.code === 'NOT_FOUND' ? EXIT.missing : error.code === 'INVALID' ? EXIT.usage : EXIT.failed
    return { sentence: error.message, code }
  }
  if (error instanceof AuthError) return { sentence: error.message, code: EXIT.failed }
  return { sentence: error instanceof Error ? error.message : String(error), code: EXIT.failed }
}
