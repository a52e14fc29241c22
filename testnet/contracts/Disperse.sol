// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

/// EIP-2612, the part that is used.
interface Permits {
    function permit(
        address owner,
        address spender,
        uint256 value,
        uint256 deadline,
        uint8 v,
        bytes32 r,
        bytes32 s
    ) external;
}

/// @title Pays many in one transaction.
/// @notice Holds nothing and owns nothing. Every payee sees a Transfer from the payer, as from a
/// transfer of the payer's own; either all are paid or nobody.
contract Disperse {
    error LengthsDiffer(uint256 payees, uint256 amounts);
    error NotAToken(address token);
    error NotPaid(uint256 index);

    /// Pays `amounts[i]` to `to[i]`. The caller has approved the sum of them to this contract.
    function disperseToken(address token, address[] calldata to, uint256[] calldata amounts) external {
        pay(token, to, amounts);
    }

    /// The same with an approval by signature, of `value` until `deadline`.
    function disperseTokenWithPermit(
        address token,
        address[] calldata to,
        uint256[] calldata amounts,
        uint256 value,
        uint256 deadline,
        uint8 v,
        bytes32 r,
        bytes32 s
    ) external {
        // Anyone may have handed in the permit before us; then the approval is there already,
        // and if it is not, the first payment fails.
        try Permits(token).permit(msg.sender, address(this), value, deadline, v, r, s) {} catch {}
        pay(token, to, amounts);
    }

    function pay(address token, address[] calldata to, uint256[] calldata amounts) private {
        if (to.length != amounts.length) revert LengthsDiffer(to.length, amounts.length);
        if (token.code.length == 0) revert NotAToken(token);
        for (uint256 i = 0; i < to.length; ++i) {
            // transferFrom(address,address,uint256); old tokens answer nothing, some answer false.
            (bool done, bytes memory answer) =
                token.call(abi.encodeWithSelector(0x23b872dd, msg.sender, to[i], amounts[i]));
            if (!done && answer.length != 0) {
                // The token's own reason.
                assembly ("memory-safe") {
                    revert(add(answer, 32), mload(answer))
                }
            }
            bool paid = answer.length == 0 || (answer.length >= 32 && abi.decode(answer, (uint256)) == 1);
            if (!done || !paid) revert NotPaid(i);
        }
    }
}
