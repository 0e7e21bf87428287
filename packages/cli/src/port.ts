import { InvalidArgumentError } from 'commander'

/** Of --port: the two ports after it may be needed as well. */
export const portNumber = (text: string): number => {
  const port = Number(text)
  if (text.trim() && Number.isInteger(port) && port >= 0 && port <= 65_533) return port
  throw new InvalidArgumentError('Expected a port from 0 (any that is free) to 65533.')
}
