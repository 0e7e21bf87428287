import { type Scope, signToken } from '@weft/auth'
import { type Command, InvalidArgumentError, Option } from 'commander'
import { loadConfig } from '../config.ts'
import { shared } from '../connect.ts'
import { foundSecret } from '../dev-secret.ts'
import { EXIT, Exit } from '../exit.ts'
import { milliseconds, print, printJson } from '../output.ts'

const NO_SECRET = 'there is no secret to sign with: start "weft dev" once, or set WEFT_JWT_SECRET'

const ttl = (text: string): number => {
  const ms = milliseconds(text)
  if (!ms || ms < 1_000) throw new InvalidArgumentError('Expected a duration such as 15m, 8h or 7d.')
  return Math.floor(ms / 1_000)
}

export function token(program: Command): void {
  program
    .command('token')
    .summary('sign a token for development')
    .description(
      'Signs an HS256 token with WEFT_JWT_SECRET, or else with the secret that "weft dev" made beside its store. In production your identity provider issues tokens.',
    )
    .requiredOption('-t, --tenant <tenant>', 'whose it is; "*" stands above tenants')
    .addOption(
      new Option('-s, --scope <scopes...>', 'what it allows')
        .choices(['ingest', 'alerts:read', 'admin'])
        .default(['alerts:read']),
    )
    .option('--ttl <duration>', 'how long it is good', ttl, 3_600)
    .addHelpText(
      'after',
      `
Examples:
  weft token --tenant aurora
  curl -N -H "Authorization: Bearer $(weft token -t aurora)" http://127.0.0.1:7070/v1/alerts/stream`,
    )
    .action(async (options: { tenant: string; scope: Scope[]; ttl: number }, command: Command) => {
      const { json, log, config: file } = shared(command)
      const config = await loadConfig({ file, log })
      const { issuer, audience } = config.auth.jwt
      const secret = config.jwtSecret ?? (await foundSecret(config))
      if (!secret) throw new Exit(EXIT.missing, NO_SECRET)
      const signed = await signToken(secret, {
        tenant: options.tenant,
        scopes: options.scope,
        expiresIn: options.ttl,
        ...(issuer && { issuer }),
        ...(audience && { audience }),
      })
      await (json ? printJson({ token: signed, tenant: options.tenant, expiresIn: options.ttl }) : print(signed))
    })
}
