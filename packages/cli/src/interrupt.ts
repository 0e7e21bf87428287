import { writeSync } from 'node:fs'
import { explain } from './exit.ts'

/** Long enough for everything to drain; what hangs longer will not end by itself. */
const PATIENCE_MS = 15_000

/**
 * Ends the process whatever holds it up: `process.exit` waits for threads, and one of a store whose disk failed may
 * never come back. What was acknowledged is on disk already.
 */
function endAtOnce(why: string): never {
  writeSync(2, `${why}\n`)
  process.kill(process.pid, 'SIGKILL')
  throw new Error(why)
}

export interface Interruption extends Disposable {
  readonly signal: AbortSignal
  /** Resolves when the signal aborts. */
  readonly stopped: Promise<void>
  readonly asked: () => boolean
}

/**
 * Aborts on the first Ctrl-C, SIGTERM or SIGHUP; a later one ends the process at once. A terminal and npm each pass
 * the same Ctrl-C on, so what follows within a second is still the first.
 */
export function interruption(): Interruption {
  const controller = new AbortController()
  const { promise: stopped, resolve: stop } = Promise.withResolvers<void>()
  let first = 0
  let patience: NodeJS.Timeout | undefined
  const listen = () => {
    if (!first) {
      first = performance.now()
      const late = `weft: still not stopped after ${PATIENCE_MS / 1000} s, ended at once; what was acknowledged is safe`
      patience = setTimeout(() => endAtOnce(late), PATIENCE_MS).unref()
      controller.abort()
      stop()
    } else if (performance.now() - first > 1_000) endAtOnce('weft: ended at once; what was acknowledged is safe')
  }
  const signals = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const
  for (const each of signals) process.on(each, listen)
  return {
    signal: controller.signal,
    stopped,
    asked: () => first > 0,
    [Symbol.dispose]() {
      clearTimeout(patience)
      for (const each of signals) process.off(each, listen)
    },
  }
}

/** An error that nobody awaited: one sentence, and the end. */
export function endOnLostErrors(): void {
  process.on('uncaughtException', error => {
    // lmdb rejects a promise of its own, too, when a commit fails; whoever wrote was told by theirs.
    if ('commitError' in error) return
    const detail = process.env.LOG_LEVEL === 'debug' ? `\n${error.stack}` : ''
    endAtOnce(`weft: ended by an unexpected error: ${explain(error).sentence}${detail}`)
  })
}
