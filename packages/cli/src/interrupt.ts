import { EXIT } from './exit.ts'

/**
 * Aborts on the first Ctrl-C, SIGTERM or SIGHUP; a later one ends the process at once. A terminal and npm each pass
 * the same Ctrl-C on, so what follows within a second is still the first.
 */
export function interruption(
  onForce: () => void = () => {},
): { signal: AbortSignal; asked: () => boolean } & Disposable {
  const controller = new AbortController()
  let first = 0
  const listen = () => {
    if (!first) {
      first = performance.now()
      controller.abort()
    } else if (performance.now() - first > 1_000) {
      onForce()
      process.exit(EXIT.interrupted)
    }
  }
  const signals = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const
  for (const each of signals) process.on(each, listen)
  return {
    signal: controller.signal,
    asked: () => first > 0,
    [Symbol.dispose]() {
      for (const each of signals) process.off(each, listen)
    },
  }
}
